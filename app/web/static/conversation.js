// One conversation: sections of its log that are filled near the viewport, the outline, live events, actions.
import { $, $$, swap, parse, keepFocus, showTimes, notice, banner, askText, askOne, whileLoading, saveAs, untilAnswered } from './dom.js';
import { ask, base, send } from './session.js';
import { follow } from './live.js';
import { askFirst, askedEvent, findId, headPath, isSaid, keepSeen, neighbour, openAt } from './visit.js';
import { SECTION, arrange, begin, grow, isEmpty, show } from './sections.js';

const id = findId();
const BEYOND = 99_999_999_999; // above the number of any event, and the longest that the route takes for a number
const SAID_HEIGHT = 132; // of a section of which only what was said is shown
const BODIES = 100;
const BODY_LENGTH = 100_000; // longer ones are not kept
let last = -1;
let count = 0;
let following = false; // whether the window stays at the end while the log grows
let lastY = 0;
let unseen = 0;
let current = -1;
let rule = -1; // the first event that is new since the last visit
let lines = []; // the outline: [number, its line]
let undo = null;
let reading = new AbortController(); // ends every read of the conversation when it is deleted
const read = (path, signal) => ask(path, { signal: signal ? AbortSignal.any([signal, reading.signal]) : reading.signal });

export async function start() {
  const at = openAt(id);
  try {
    await whileLoading(async () => swap(await (await untilAnswered(() => askFirst(headPath(id, at)))).text()));
  } catch (error) {
    if (error.status === 404 || error.status === 422) {
      const state = document.createElement('div');
      state.className = 'state';
      const title = document.createElement('h1');
      title.textContent = 'No conversation has this id.';
      const more = document.createElement('p');
      const trash = document.createElement('a');
      trash.className = 'link';
      trash.href = `${base}/trash`;
      trash.textContent = 'the trash';
      more.append('It may be in ', trash, '.');
      state.append(title, more);
      $('#main').replaceChildren(state);
    } else if (error.status !== 401) notice(error.message, 'bad');
    return;
  }
  const talk = $('.talk');
  last = Number(talk.dataset.last);
  count = Number(talk.dataset.count);
  document.title = `${$('h1').textContent} · convstore`;
  if (askedEvent() === null && at >= 0 && at <= last) rule = at;
  prepareAll();
  document.addEventListener('click', onClick);
  document.addEventListener('keydown', onFindKey);
  document.addEventListener('toggle', onToggle, true);
  await jump(askedEvent() ?? (rule < 0 ? Number(talk.dataset.openAt) : rule));
  addEventListener('hashchange', () => { const to = askedEvent(); if (to !== null) jump(to); });
  addEventListener('scroll', onScroll, { passive: true });
  onScroll();
  followEvents();
  keepSeen(id, last);
}

// Take over what a swap has brought.
function prepareAll() {
  $('.talk').classList.toggle('only-said', isSaid());
  begin({ last, height: isSaid() ? SAID_HEIGHT : undefined, fetch: getEvents, prepare, follows: () => following });
  readOutline();
}

const getEvents = async (from, limit, signal) =>
  (await read(`/ui/c/${id}/events?from=${from}&limit=${limit}&said=${isSaid()}`, signal)).text();

// Change events before they are shown.
function prepare(where) {
  applyGroups(where);
  loadImages(where);
  $(`article[data-seq="${current}"]`, where)?.classList.add('cur');
  if (rule < 0 || !$(`[data-seq="${rule}"]`, where)) return;
  const first = $$('article', where).find((one) => Number(one.dataset.seq) >= rule);
  if (!first) return;
  const line = document.createElement('p');
  line.className = 'rule new';
  const words = document.createElement('span');
  words.textContent = 'new since your last visit';
  line.append(words);
  first.before(line);
}

function readOutline() {
  lines = $$('.outline nav a').map((link) => [Number(link.hash.slice(2)), link]);
  marked = $('.outline nav [aria-current]');
}

// Show a new head. The bar of find stays as it is: who types in it must not press keys of the page.
function renewTalk(html) {
  const bar = $('#findbar');
  const focused = bar.contains(document.activeElement) && document.activeElement;
  swap(html);
  $('#findbar').replaceWith(bar);
  if (focused) focused.focus({ preventScroll: true });
}

// Show everything, or only what was said; the address keeps it, and the place stays. The last call wins.
let switching = new AbortController();
async function setSaid(on, here = current) {
  switching.abort();
  const { signal } = switching = new AbortController();
  const query = new URLSearchParams(location.search);
  if (on) query.set('view', 'said');
  else query.delete('view');
  history.replaceState(null, '', `${location.pathname}${query.size ? `?${query}` : ''}${location.hash}`);
  const to = here < 0 ? last : here;
  let fresh;
  try { fresh = parse(await (await ask(headPath(id, to), { signal })).text()); } catch (error) {
    if (error.name !== 'AbortError') notice(error.message, 'bad');
    return;
  }
  keepFocus(() => { for (const part of ['#shown', '#log']) $(part).replaceWith($(part, fresh)); }); // the rest is as it was
  prepareAll();
  await jump(to);
}

let followed = null;
function followEvents() {
  if (reading.signal.aborted || followed === reading.signal) return;
  followed = reading.signal;
  follow(`/api/conversations/${id}/events/stream?after=latest&numbered=true`, onEvent, { onState: showLive, signal: followed });
}

// Large images are asked for alone, when they come near: an address in an <img> would carry no key.
const images = new IntersectionObserver(async (entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    images.unobserve(target);
    try {
      const url = URL.createObjectURL(await (await read(target.dataset.image)).blob());
      target.addEventListener('load', () => { URL.revokeObjectURL(url); if (following) scrollToEnd(); }, { once: true });
      target.src = url;
    } catch { target.alt += ', which cannot be shown'; }
  }
}, { rootMargin: '800px' });

function loadImages(where) {
  for (const one of $$('img[data-image]:not([src])', where)) images.observe(one);
}

const scrollToEnd = () => scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' });

// What a person opens stays where it is, although it grows below.
const opened = new WeakSet(); // others came open with their section
function stay(details) {
  if (details) opened.add(details);
  following = false;
  onScroll();
}

let pending = false;
let marked = null; // the line of the outline that is marked
function onScroll() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(async () => {
    pending = false;
    const atEnd = innerHeight + scrollY >= document.documentElement.scrollHeight - 80;
    const changed = atEnd || following;
    following = atEnd || (following && scrollY >= lastY); // only who scrolls up leaves the end: growth does not
    lastY = scrollY;
    if (atEnd) unseen = 0;
    if (changed) showLive(liveState);
    markPlace();
    try { if (await arrange()) onScroll(); } catch { /* the next move tries again */ }
  });
}

// Mark in the ribbon and in the outline what the window shows.
function markPlace() {
  const shown = $$('.part').filter((one) => { const box = one.getBoundingClientRect(); return box.bottom > 90 && box.top < innerHeight; });
  const articles = shown.flatMap((one) => $$('.ev:not([hidden])', one));
  const first = articles.find((one) => one.getBoundingClientRect().bottom > 90);
  const end = articles.findLast((one) => one.getBoundingClientRect().top < innerHeight);
  if (!first || !end) return;
  const [from, to] = [Number(first.dataset.seq), Number(end.dataset.seq)];
  const view = $('#ribbon rect.v');
  if (view) {
    const scale = 860 / (last + 1);
    view.setAttribute('x', String(from * scale));
    view.setAttribute('width', String(Math.max(4, (to - from + 1) * scale)));
  }
  const now = lines.findLast(([seq]) => seq <= from)?.[1] ?? null;
  if (now === marked) return;
  marked?.parentElement.classList.remove('on');
  marked?.removeAttribute('aria-current');
  now?.parentElement.classList.add('on');
  now?.setAttribute('aria-current', 'true');
  marked = now;
}

function find(seq) {
  return $(`article[data-seq="${seq}"]`) ?? $(`article[data-with="${seq}"]`);
}

// The first shown event at or after a number, or else the last one.
function nearest(seq) {
  const shown = $$('article[data-seq]').filter((one) => one.checkVisibility());
  return shown.find((one) => Number(one.dataset.seq) >= seq) ?? shown.at(-1);
}

// Have the sections around an event, and return whether it is still wanted.
async function reach(seq) {
  try { return await show(seq); } catch (error) {
    if (error.name !== 'AbortError') notice(error.message, 'bad');
    return false;
  }
}

// Show an event at the top of the window.
async function jump(seq, { focus = false } = {}) {
  if (last < 0) return;
  const to = Math.max(0, Math.min(seq, last));
  following = false;
  if (!(await reach(to))) return;
  if (!find(to) && isSaid() && askedEvent() === to) { await setSaid(false, to); return; } // a link to an event shows it
  const target = find(to) ?? nearest(to);
  if (!target) return;
  if (target.hidden) showGroup(target.dataset.group);
  setCurrent(target);
  if (focus) target.focus({ preventScroll: true });
  const isFirst = target === nearest(0) && $('#log > .space').offsetHeight === 0;
  if (isFirst) scrollTo({ top: 0, behavior: 'instant' }); // with the title
  else target.scrollIntoView({ block: 'start', behavior: 'instant' });
  onScroll();
}

function setCurrent(article) {
  $('.ev.cur')?.classList.remove('cur');
  if (!article?.matches('article')) return;
  article.classList.add('cur');
  current = Number(article.dataset.seq);
}

// Live: the sections from the first event that came are rendered again, and the last one, so that an action gets its result.
let renewing = null;
let came = Infinity; // the lowest number of the events that came: they may take the place of events that were taken back
function onEvent({ data }) {
  renewFrom(Number(/^\{"seq":(\d+),/.exec(data)?.[1] ?? 0));
}

function renewFrom(seq) {
  came = Math.min(came, seq);
  renewing ??= setTimeout(renew, 100);
}

async function renew() {
  renewing = null;
  const stayed = following;
  const before = last;
  const from = came;
  came = Infinity;
  try {
    const log = await (await read(`/api/conversations/${id}/events/window?around=${BEYOND}&before=0&after=0`)).json();
    if (log.count === count && log.last === last && from > last) return;
    if (log.last - before > 100 * SECTION) { location.reload(); return; }
    $('#live time').dateTime = new Date().toISOString();
    last = log.last;
    count = log.count;
    $('#count').textContent = count.toLocaleString();
    $('#log > .state')?.remove();
    await grow(isSaid() ? 0 : Math.min(from, before), last, { toEnd: stayed }); // an earlier answer may be the last no more
  } catch { /* the next event tries again */ came = Math.min(came, from); return; }
  if (stayed) scrollToEnd();
  else unseen += Math.max(0, last - before);
  keepSeen(id, last);
  showLive(liveState);
  pulse();
  renewingHead ??= setTimeout(renewHead, 2000);
}

// The facts, the outline and the ribbon follow the log, some seconds later.
let renewingHead = null;
async function renewHead() {
  renewingHead = null;
  let fresh;
  try { fresh = parse(await (await read(headPath(id))).text()); } catch { return; } // the next event tries again
  for (const part of ['.facts', '#ribbon', '.outline nav']) {
    const [old, made] = [$(part), $(part, fresh)];
    if (part === '.outline nav' && old?.textContent === made?.textContent) continue; // the focus may be in it
    if (old && made && old.innerHTML !== made.innerHTML) old.replaceWith(made);
    else if (!old && made && part === '.outline nav') $('.outline').append(made);
  }
  for (const made of $$('[data-group][aria-pressed] .num', fresh)) {
    const old = $(`[data-group="${made.parentElement.dataset.group}"][aria-pressed] .num`);
    if (old) old.textContent = made.textContent;
  }
  const talk = $('.talk', fresh);
  for (const one of ['waits', 'runs']) $('.talk').toggleAttribute(`data-${one}`, one in talk.dataset);
  $('.talk').dataset.owner = talk.dataset.owner;
  showTimes();
  readOutline();
  markPlace();
}

// The dot pulses when an event comes. If it did so all the time, a page at rest would take a tenth of a core.
const still = matchMedia('(prefers-reduced-motion: reduce)');
function pulse() {
  if (!still.matches) $('#live').animate({ opacity: [1, 0.35, 1] }, { duration: 1600, pseudoElement: '::before' });
}

let liveState = '';
function showLive(state) {
  if (state === 'live' && liveState !== 'live') renewFrom(liveState ? 0 : Infinity); // what came while the stream was away
  if (state === 'gone' && !undo) banner('This conversation was deleted, or the server has another store now.', { label: 'Restore it', run: restore });
  if (state === 'lost') banner('The connection to the server is lost. Trying again …');
  if (state === 'live' && liveState !== 'live') banner('');
  liveState = state;
  const place = $('#live');
  if (!place) return;
  place.hidden = !state;
  place.classList.toggle('lost', state !== 'live');
  $('b', place).textContent = state === 'gone' ? 'Gone' : state === 'lost' ? 'Not connected' : 'Live';
  $('span', place).textContent = state === 'gone' ? '' : state === 'lost' ? 'trying again' : unseen && !following ? `${unseen} new` : following ? 'following' : 'jump to the end';
  $('time', place)?.parentElement.toggleAttribute('hidden', state !== 'live' || !following);
}

async function toStart() {
  if (isEmpty()) return;
  following = false;
  if (!(await reach(0))) return;
  setCurrent(nearest(0));
  scrollTo({ top: 0, behavior: 'instant' });
  onScroll();
}

async function toEnd() {
  if (isEmpty() || !(await reach(last))) return;
  following = true;
  scrollToEnd();
  lastY = scrollY; // sections that are lower than was guessed put the end above the place where the window was
  onScroll();
}

// Find: hits of this conversation in the order of its log, a page at a time.
let finding = { text: '', hits: [], total: 0, at: -1, next: null };
function openFind() {
  $('#findbar').hidden = false;
  $('#findbar input').select();
  $('#findbar input').focus();
}

function closeFind() {
  $('#findbar').hidden = true;
  ($('.ev.cur') ?? $('#main')).focus({ preventScroll: true });
}

async function loadHits() {
  const query = new URLSearchParams({ q: finding.text, conversation_id: id, order: 'seq', in: 'all', limit: '100' });
  if (finding.next) query.set('page_id', finding.next);
  const page = await (await ask(`/api/messages/search?${query}`)).json();
  finding.hits.push(...page.items);
  finding.total = page.total;
  finding.next = page.next_page_id;
}

async function findText(text, direction) {
  try {
    if (text !== finding.text) {
      finding = { text, hits: [], total: 0, at: -1, next: null };
      if (text) await loadHits();
      const here = Number($('.ev.cur')?.dataset.seq ?? 0);
      const from = finding.hits.findIndex((hit) => hit.seq >= here);
      finding.at = from < 0 ? 0 : from;
    } else {
      finding.at += direction;
      if (finding.at >= finding.hits.length && finding.next) await loadHits();
      if (finding.at >= finding.hits.length) finding.at = 0;
      if (finding.at < 0) {
        while (finding.next) await loadHits();
        finding.at = finding.hits.length - 1;
      }
    }
  } catch (error) { notice(error.message, 'bad'); return; }
  $('#findbar output').textContent = !text ? '' : finding.total ? `${finding.at + 1} of ${finding.total.toLocaleString()} hit${finding.total === 1 ? '' : 's'}` : 'no hit';
  const hit = finding.hits[finding.at];
  if (!hit) return;
  await jump(hit.seq);
  const found = find(hit.seq);
  const step = found && $('details[data-event]', found);
  if (!step) return;
  opened.add(step);
  step.open = true; // what a tool did is inside
}

function onFindKey(event) {
  if (!event.target.closest('#findbar')) return;
  if (event.key === 'Escape') closeFind();
  if (event.key !== 'Enter' || event.target.tagName !== 'INPUT') return;
  event.preventDefault();
  findText(event.target.value.trim(), event.shiftKey ? -1 : 1);
}

async function onToggle(event) {
  const details = event.target;
  if (!details.open || !details.dataset?.event) return;
  const place = $('.inside', details);
  if ('filled' in place.dataset) return;
  place.dataset.filled = '';
  try {
    place.replaceChildren(parse(await body(details, false)));
    loadImages(place);
    if (opened.has(details)) stay();
    else if (following) scrollToEnd();
  } catch (error) {
    delete place.dataset.filled;
    place.textContent = error.message;
  }
}

// The insides that were opened last, by event: a section that comes back asks for none of them again.
const bodies = new Map();

async function body({ dataset }, whole) {
  const path = `/ui/c/${id}/body/${dataset.event}?observation=${dataset.observation}&whole=${whole}`;
  const html = bodies.get(path) ?? await (await ask(path)).text();
  bodies.delete(path);
  if (html.length <= BODY_LENGTH) bodies.set(path, html);
  if (bodies.size > BODIES) bodies.delete(bodies.keys().next().value);
  return html;
}

const onClick = (event) => click(event).catch((error) => { if (error.status !== 401) notice(error.message, 'bad'); });

async function click(event) {
  const button = event.target.closest('button');
  if (event.target.closest('summary')) stay(event.target.closest('details'));
  if (event.target.closest('#ribbon')) {
    const box = $('#ribbon').getBoundingClientRect();
    jump(Math.floor(((event.clientX - box.left) / box.width) * (last + 1)));
  }
  if (!button) return;
  if (button.id === 'live') toEnd();
  if (button.dataset.find === '0') closeFind();
  else if (button.dataset.find) findText($('#findbar input').value.trim(), Number(button.dataset.find));
  if ('said' in button.dataset) await setSaid(!isSaid());
  if (button.dataset.group) {
    const on = button.getAttribute('aria-pressed') !== 'true';
    button.setAttribute('aria-pressed', String(on));
    applyGroups(document);
    onScroll();
  }
  const inside = button.closest('.inside');
  if ('whole' in button.dataset) inside.replaceChildren(parse(await body(button.closest('details'), true)));
  if ('copy' in button.dataset) { await navigator.clipboard.writeText($('pre', inside).textContent); notice('Copied.'); }
  if ('large' in button.dataset) await showLarge($('img', button));
  if (button.dataset.raw) {
    const raw = await (await ask(`/api/conversations/${id}/events/${button.dataset.raw}`)).json();
    const pre = document.createElement('pre');
    pre.className = 'out';
    pre.tabIndex = 0;
    pre.textContent = JSON.stringify(raw, null, 2);
    inside.append(pre);
    button.remove();
  }
  if (button.dataset.act) await actions[button.dataset.act](button);
}

// Show an image in its own size. It is asked for again, since the address of a loaded one is given up.
async function showLarge(small) {
  const image = document.createElement('img');
  image.alt = small.alt;
  image.src = small.dataset.image ? URL.createObjectURL(await (await ask(small.dataset.image)).blob()) : small.src;
  const dialog = $('#large');
  dialog.prepend(image);
  dialog.showModal();
  dialog.addEventListener('close', () => { image.remove(); URL.revokeObjectURL(image.src); }, { once: true });
}

function showGroup(name) {
  $(`[data-group="${name}"][aria-pressed]`)?.setAttribute('aria-pressed', 'true');
  applyGroups(document);
}

function applyGroups(where) {
  const off = new Set($$('[data-group][aria-pressed="false"]').map((one) => one.dataset.group));
  for (const one of $$('.ev', where)) one.hidden = off.has(one.dataset.group);
}

// Change the conversation; `back` is the change that undoes it.
async function patch(change, text, back = null) {
  try { await send('PATCH', `/api/conversations/${id}`, change); } catch (error) { notice(error.message, 'bad'); return; }
  undo = back && (() => { undo = null; return patch(back, 'Taken back.'); });
  notice(text, '', undo && { label: 'Undo', run: undo });
  const kept = scrollY;
  const log = $('#log');
  renewTalk(await (await ask(headPath(id))).text());
  $('#log').replaceWith(log);
  $('.talk').classList.toggle('only-said', isSaid());
  readOutline();
  applyGroups(document);
  scrollTo(0, kept);
  showLive(liveState);
}

const actions = {
  async rename() {
    const title = await askText('Rename', $('h1').textContent, 'Title');
    const before = $('h1').textContent;
    if (title?.trim()) await patch({ title: title.trim() }, 'Renamed.', { title: before });
  },
  async tag(button) {
    const tags = JSON.parse(button.dataset.tags);
    const spelled = Object.entries(tags).map(([key, value]) => (value ? `${key}=${value.replaceAll(',', '\\,')}` : key)).join(', ');
    const text = await askText('Tags', spelled, 'key=value, …');
    if (text === null || text === spelled) return;
    const given = text.split(/(?<!\\),/).map((one) => one.trim().replaceAll('\\,', ',')).filter(Boolean).map((one) => one.split('='));
    await patch({ tags: Object.fromEntries(given.map(([key, ...value]) => [key.trim(), value.join('=').trim()])) }, 'Tagged.', { tags });
  },
  pin(button) {
    const pinned = button.getAttribute('aria-pressed') !== 'true';
    return patch({ pinned }, pinned ? 'Pinned.' : 'Unpinned.', { pinned: !pinned });
  },
  archive(button) {
    const archived = button.getAttribute('aria-pressed') !== 'true';
    return patch({ archived }, archived ? 'Archived.' : 'Out of the archive.', { archived: !archived });
  },
  async fork() {
    const here = $('.ev.cur');
    const from = $('[data-observation]', here ?? document.body)?.dataset.observation || here?.dataset.id;
    const choices = [['all', 'All of it'], ...(here?.dataset.id ? [['here', `Up to event ${here.dataset.with ?? here.dataset.seq}`]] : [])];
    const chosen = await askOne('Copy this conversation to a new one', choices);
    if (!chosen) return;
    try {
      const made = await (await send('POST', `/api/conversations/${id}/fork`, chosen === 'here' ? { from_event_id: from } : {})).json();
      location.assign(`${base}/c/${made.id}`);
    } catch (error) { notice(error.message, 'bad'); }
  },
  export: async () => saveAs(await ask(`/api/conversations/${id}/export`), `${id}.zip`),
  async continue() {
    if (!$('.talk')) return;
    const { resume, owner } = $('.talk').dataset;
    const text = resume || `http://localhost:8000/conversations/${$('.talk').dataset.id}`;
    await navigator.clipboard.writeText(text);
    const where = resume ? '' : ' (agent-canvas at its usual address)';
    notice(`Copied: ${text}${where}${owner ? `. ${owner} has it open now.` : ''}`);
  },
  async compare() {
    const ids = await candidates();
    if (!ids.length) { notice('There is no other conversation to compare with.', 'warn'); return; }
    const other = await askOne('Compare with', ids);
    if (other) location.assign(`${base}/compare?a=${$('.talk').dataset.id}&b=${other}`);
  },
  async delete() {
    reading.abort(); // else the end of the stream would take the place of the Undo, and reads be answered with 404
    try {
      await ask(`/api/conversations/${id}`, { method: 'DELETE' });
    } catch (error) {
      notice(error.message, 'bad');
      liveState = '';
      reading = new AbortController();
      followEvents();
      onScroll();
      return;
    }
    undo = restore;
    showLive('gone');
    notice('Moved to the trash.', '', { label: 'Undo', run: restore });
  },
};

// The conversations that one may want beside this one, as [id, name]: its parent and source, and others of its workspace.
async function candidates() {
  const { id: own, workspace, related } = $('.talk').dataset;
  const query = new URLSearchParams({ view: 'row', limit: '8', archived: 'any', sort_order: 'UPDATED_AT_DESC' });
  if (workspace) query.set('workspace', workspace);
  const rows = (await (await ask(`/api/conversations/search?${query}`)).json()).items.filter((row) => row.id !== own);
  const relatives = related.split(' ').filter((one) => one && !rows.some((row) => row.id === one));
  return [...relatives.map((one) => [one, one.slice(0, 8)]), ...rows.map((row) => [row.id, row.title?.trim() || row.preview || row.id.slice(0, 8)])];
}

async function restore() {
  await send('POST', `/api/conversations/${id}/restore`);
  location.reload();
}

async function toNeighbour(direction) {
  const [next, why] = neighbour(id, direction);
  if (next) location.assign(`${base}/c/${next}`);
  else notice(why, 'warn');
}

function step(selector, direction) {
  const all = $$(selector).filter((one) => !one.hidden);
  const at = all.indexOf($('.ev.cur'));
  let next = at >= 0 ? all[at + direction] : null;
  if (at < 0) next = direction > 0 ? all.find((one) => one.getBoundingClientRect().top > 60) : all.findLast((one) => one.getBoundingClientRect().top < 60);
  if (!next) return;
  setCurrent(next);
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: 'nearest' });
}

const toLine = (lines, direction) => {
  const here = Number($('.ev.cur')?.dataset.seq ?? 0);
  const places = lines.map((link) => Number(link.hash.slice(2)));
  const to = direction > 0 ? places.find((seq) => seq > here) : places.findLast((seq) => seq < here);
  if (to !== undefined) jump(to, { focus: true });
};
const turns = () => $$('.outline li:not(.sub) > a');
const errors = () => $$('.outline li > a').filter((one) => $('.bad', one));

export const keys = {
  '/': ['Find in this conversation', openFind],
  j: ['Next event', () => step('.ev', 1)],
  k: ['Previous event', () => step('.ev', -1)],
  J: ['Next turn of yours', () => toLine(turns(), 1)],
  K: ['Previous turn of yours', () => toLine(turns(), -1)],
  n: ['Next error', () => toLine(errors(), 1)],
  p: ['Previous error', () => toLine(errors(), -1)],
  Enter: ['Open or fold', () => { const details = $('.ev.cur details'); if (details) { details.open = !details.open; stay(details); } }],
  f: ['Follow', toEnd],
  Home: ['Go to the first event', toStart],
  End: ['Go to the end', toEnd],
  v: ['Show only what was said, or everything', () => setSaid(!isSaid())],
  '[': ['Previous conversation of the list', () => toNeighbour(-1)],
  ']': ['Next conversation of the list', () => toNeighbour(1)],
  s: ['Pin', () => $('[data-act=pin]').click()],
  e: ['Archive', () => $('[data-act=archive]').click()],
  l: ['Tag', () => actions.tag($('[data-act=tag]'))],
  c: ['Copy how to continue', () => actions.continue()],
  '#': ['Delete', () => actions.delete()],
  z: ['Undo', () => undo?.()?.catch?.((error) => notice(error.message, 'bad'))],
  u: ['Back to the list', () => ([`${location.origin}${base}/`, `${location.origin}${base}/?`].some((list) => document.referrer.startsWith(list)) ? history.back() : location.assign(`${base}/`))],
};
