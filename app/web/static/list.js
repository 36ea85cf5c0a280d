// The list: filters, search, rows that come as one scrolls, selection, and changes as they happen.
import { $, $$, swap, parse, showTimes, notice, askText, askYes, whileLoading, tryAgain } from './dom.js';
import { ask, base, send } from './session.js';
import { move } from './keys.js';
import { followChanges } from './live.js';
import { askFirst, keepList, listQuery } from './visit.js';

let running = null;
let undo = null;
let all = false; // whether all conversations of the filter are selected, not only the checked rows
const checked = () => $$('.row input:checked').map((box) => box.closest('.row'));
const current = () => $('.row.cur');
const rows = () => $$('.row[data-id]').filter((row) => row.checkVisibility());
const aimed = () => (checked().length ? checked() : current() ? [current()] : []);
const query = () => new URLSearchParams(location.search);
const zoned = () => { const asked = query(); asked.set('tz', Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'UTC'); return asked; };

export async function start() {
  $('#find input').value = query().get('q') ?? '';
  addEventListener('popstate', () => { $('#find input').value = query().get('q') ?? ''; load(); });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('#side a, .chip a, .state a');
    const to = link && new URL(link.getAttribute('href'), location.href);
    if (to && to.origin === location.origin && to.pathname === `${base}/` && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
      event.preventDefault();
      go(to.search);
    }
    const button = event.target.closest('[data-bulk]');
    if (button) bulk[button.dataset.bulk]();
    if (event.target.closest('#all')) selectAll();
  });
  let typing;
  $('#find').addEventListener('submit', (event) => { event.preventDefault(); search(); });
  $('#find input').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(search, 150); });
  document.addEventListener('change', (event) => {
    if (event.target.id === 'look-in') set('in', event.target.value === 'said' ? '' : event.target.value);
    if (event.target.id === 'sort') set('sort_order', event.target.value);
    if (event.target.closest('.row')) { all = false; showSelection(); }
  });
  document.addEventListener('toggle', onToggle, true);
  await load();
  followChanges(() => { if (!checked().length) load({ quiet: true }); });
}

function go(search) {
  history.pushState(null, '', `${base}/${search}`);
  $('#find input').value = query().get('q') ?? '';
  load();
}

function set(name, value) {
  const next = query();
  if (value) next.set(name, value);
  else next.delete(name);
  const text = next.toString();
  go(text && `?${text}`);
}

function search() {
  const text = $('#find input').value.trim();
  if (text === (query().get('q') ?? '')) return;
  const typed = $('#find input').value;
  set('q', text);
  $('#find input').value = typed;
}

async function load({ quiet = false } = {}) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  document.title = `${query().get('q') ? `${query().get('q')} — ` : ''}convstore`;
  const kept = current()?.dataset.id;
  tryAgain.stop();
  try {
    const get = async () => (await askFirst(`/ui/list?${listQuery()}`, { signal })).text();
    const html = await (quiet ? get() : whileLoading(get));
    if (signal.aborted) return;
    show(html, quiet);
    rows().find((row) => row.dataset.id === kept)?.classList.add('cur');
    keepRows();
    watchEnd();
    loadActivity(signal, quiet);
    if ($('#building')) setTimeout(() => { if (!signal.aborted) load({ quiet: true }); }, 1000);
  } catch (error) {
    if (error.name !== 'AbortError') fail(error, () => load({ quiet: true }));
  }
}

// The histogram and the number of today come after the list. While the list changes by itself, they are a minute old at most.
let counted = 0;
async function loadActivity(signal, quiet) {
  if (quiet && Date.now() - counted < 60_000) return;
  try {
    swap(await (await ask(`/ui/list/activity?${zoned()}`, { signal })).text());
    counted = Date.now();
  } catch { /* the list is whole without them */ }
}

// Put the list in its place. What the user had opened stays open, and the place in the window stays.
function show(html, quiet) {
  const opened = $$('#side details[open], .kids[open]').map((one) => one.dataset.kept ?? one.dataset.parent);
  const unfolded = $('.side').classList.contains('unfolded');
  const scrolled = quiet ? scrollY : 0;
  all = false;
  const activity = [...$('#activity')?.childNodes ?? []];
  swap(html);
  $('#activity').replaceChildren(...activity);
  for (const one of $$('#side details, .kids')) one.open = opened.includes(one.dataset.kept ?? one.dataset.parent);
  $('[data-folds]').setAttribute('aria-expanded', String(unfolded));
  if (quiet) scrollTo(0, scrolled);
}

async function onToggle({ target }) {
  const place = target.open && target.matches('.kids') && $('.nested', target);
  if (!place || place.childElementCount) return;
  try {
    place.replaceChildren(parse(await (await ask(`/ui/children/${target.dataset.parent}`)).text()));
    showTimes();
  } catch (error) { target.open = false; fail(error); }
}

// Say what failed; with `again`, try it again where the server may answer later.
function fail(error, again) {
  if (error.status === 401) return;
  if (again && error.mayPass) tryAgain(error, again);
  else notice(error.message, 'bad');
}

const keepRows = () => keepList($$('#rows > .row[data-id]').map((row) => row.dataset.id));

function watchEnd() {
  const more = $('#rows > .more[data-next]');
  if (!more) return;
  const observer = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    const next = listQuery();
    next.set('page_id', more.dataset.next);
    try {
      const html = await (await ask(`/ui/list?${next}`)).text();
      more.replaceWith(parse(html));
      showTimes();
      keepRows();
      watchEnd();
    } catch (error) { fail(error, watchEnd); }
  }, { rootMargin: '600px' });
  observer.observe(more);
}

const total = () => Number($('#rows').dataset.count);
function showSelection() {
  const some = checked();
  $('#bulk').hidden = some.length === 0;
  $('#selected').textContent = all ? total().toLocaleString() : some.length;
  $('#all').hidden = all || some.length >= total();
  $('[data-bulk=archive] span').textContent = isOn('archived') ? 'Unarchive' : 'Archive';
  $('[data-bulk=pin] span').textContent = isOn('pinned') ? 'Unpin' : 'Pin';
}

function selectAll() {
  for (const box of $$('#rows > .row > input')) box.checked = true;
  all = true;
  showSelection();
  $('#bulk button:not([hidden])').focus();
}

const isOn = (name) => aimed().length > 0 && aimed().every((row) => name in row.dataset);
const number = () => (all ? total() : aimed().length);
const words = (count) => (count === 1 ? '1 conversation' : `${count.toLocaleString()} conversations`);

// The body of a bulk request: the ids of the rows, or the filter with the number that the user saw.
function target() {
  if (!all) return { ids: aimed().map((row) => row.dataset.id) };
  const filter = JSON.parse($('#rows').dataset.filter);
  return Object.keys(filter).length ? { filter, expected_count: total() } : { filter, all: true, expected_count: total() };
}

// Change conversations. `back` is the path and the body without ids that undo it.
async function change(path, asked, more, done, back) {
  const count = asked.ids ? asked.ids.length : asked.expected_count;
  if (!count) return;
  try {
    const body = await (await send('POST', `/api/conversations/bulk/${path}`, { ...asked, ...more })).json();
    const ids = body.items.filter((one) => !one.error).map((one) => one.id);
    const failed = body.items.filter((one) => one.error);
    undo = back && ids.length ? () => { undo = null; change(back.path, { ids }, back.more, 'Taken back: '); } : null;
    if (failed.length) notice(`${failed.length} of ${body.items.length} failed: ${failed[0].error}`, 'bad');
    else notice(`${done}${words(ids.length)}.`, '', undo && { label: 'Undo', run: undo });
  } catch (error) { fail(error); return; }
  await load({ quiet: true });
}

const bulk = {
  async tag() {
    const asked = target();
    if (!number()) return;
    const given = await askText(`Tag ${words(number())}`, '', 'key=value');
    if (!given) return;
    const [key, ...rest] = given.split('=');
    await change('tag', asked, { set: { [key.trim()]: rest.join('=').trim() } }, 'Tagged ');
  },
  archive() {
    const archived = !isOn('archived');
    return change('archive', target(), { archived }, archived ? 'Archived ' : 'Out of the archive: ', { path: 'archive', more: { archived: !archived } });
  },
  compare() {
    const [a, b, ...more] = checked().map((row) => row.dataset.id);
    if (b && !more.length) location.assign(`${base}/compare?a=${a}&b=${b}`);
    else notice('Select two conversations to compare.', 'warn');
  },
  pin() {
    const pinned = !isOn('pinned');
    return change('pin', target(), { pinned }, pinned ? 'Pinned ' : 'Unpinned ', { path: 'pin', more: { pinned: !pinned } });
  },
  async export() {
    try { await (await import('./exports.js')).saveExport(target(), 'conversations.zip'); } catch (error) { fail(error); }
  },
  async delete() {
    const asked = target();
    if (!number() || (number() > 1 && !(await askYes(`Move ${words(number())} to the trash?`, 'Delete')))) return;
    await change('delete', asked, {}, 'Moved to the trash: ', { path: 'restore', more: {} });
  },
};

export const keys = {
  j: ['Next conversation', () => move(rows(), 1, 'a.t')],
  k: ['Previous conversation', () => move(rows(), -1, 'a.t')],
  Enter: ['Open', (event) => { if (event.target === document.body) $('a.t', current() ?? document.body)?.click(); }],
  o: ['Show or fold sub-conversations', () => { const kids = $(':scope > .kids', current() ?? document.body); if (kids) kids.open = !kids.open; }],
  x: ['Select', () => { const box = $('input', current() ?? document.createElement('i')); if (box) { box.checked = !box.checked; all = false; showSelection(); } }],
  e: ['Archive, or take out of the archive', () => bulk.archive()],
  s: ['Pin or unpin', () => bulk.pin()],
  l: ['Tag', () => bulk.tag()],
  '#': ['Delete', () => bulk.delete()],
  z: ['Undo', () => undo?.()],
};
