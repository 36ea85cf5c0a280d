// The list: filters, search, rows that come as one scrolls, selection, and changes as they happen.
import { $, $$, swap, parse, showTimes, notice, askText, askYes, whileLoading, saveAs } from './dom.js';
import { ask, base, send } from './session.js';
import { move } from './keys.js';
import { followChanges } from './live.js';

let running = null;
let waiting = null;
let undo = null;
const selected = () => $$('.row input:checked').map((box) => box.closest('.row').dataset.id);
const current = () => $('.row.cur');
const aimed = () => (selected().length ? selected() : current() ? [current().dataset.id] : []);
const rows = () => $$('.row[data-id]');

export async function start() {
  $('#find input').value = new URLSearchParams(location.search).get('q') ?? '';
  addEventListener('popstate', () => { $('#find input').value = new URLSearchParams(location.search).get('q') ?? ''; load(); });
  document.addEventListener('click', (event) => {
    const link = event.target.closest('#side a, .chip a, .state a');
    if (link && link.origin === location.origin && link.pathname === `${base}/` && !event.metaKey && !event.ctrlKey && !event.shiftKey) {
      event.preventDefault();
      go(link.search);
    }
    const button = event.target.closest('[data-bulk]');
    if (button) bulk[button.dataset.bulk](selected());
  });
  let typing;
  $('#find').addEventListener('submit', (event) => { event.preventDefault(); search(); });
  $('#find input').addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(search, 150); });
  document.addEventListener('change', (event) => {
    if (event.target.id === 'sort') set('sort_order', event.target.value);
    if (event.target.closest('.row')) showSelection();
  });
  await load();
  followChanges(() => { if (!selected().length) load({ quiet: true }); });
}

function go(query) {
  history.pushState(null, '', `${base}/${query}`);
  load();
}

function set(name, value) {
  const query = new URLSearchParams(location.search);
  if (value) query.set(name, value);
  else query.delete(name);
  const text = query.toString();
  go(text && `?${text}`);
}

function search() {
  const text = $('#find input').value.trim();
  if (text !== (new URLSearchParams(location.search).get('q') ?? '')) set('q', text);
}

async function load({ quiet = false } = {}) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const query = new URLSearchParams(location.search);
  document.title = `${query.get('q') ? `${query.get('q')} — ` : ''}convstore`;
  const kept = current()?.dataset.id;
  clearTimeout(waiting);
  try {
    const get = async () => (await ask(`/ui/list${location.search}`, { signal })).text();
    const html = await (quiet ? get() : whileLoading(get));
    if (signal.aborted) return;
    const scrolled = quiet ? scrollY : 0;
    swap(html);
    if (quiet) scrollTo(0, scrolled);
    rows().find((row) => row.dataset.id === kept)?.classList.add('cur');
    watchEnd();
  } catch (error) {
    if (error.name !== 'AbortError') fail(error);
  }
}

function fail(error) {
  if (error.status === 401) return;
  if (error.status === 0 || error.status === 503) {
    let left = error.retryAfter || 5;
    clearTimeout(waiting);
    const tick = () => {
      if (left <= 0) { load({ quiet: true }); return; }
      notice(`${error.message} Trying again in ${left} s.`, 'warn');
      left -= 1;
      waiting = setTimeout(tick, 1000);
    };
    tick();
    return;
  }
  notice(error.message, 'bad');
}

function watchEnd() {
  const more = $('.more[data-next]');
  if (!more) return;
  const observer = new IntersectionObserver(async ([entry]) => {
    if (!entry.isIntersecting) return;
    observer.disconnect();
    const query = new URLSearchParams(location.search);
    query.set('page_id', more.dataset.next);
    try {
      const html = await (await ask(`/ui/list?${query}`)).text();
      more.replaceWith(parse(html));
      showTimes();
      watchEnd();
    } catch (error) { fail(error); }
  }, { rootMargin: '600px' });
  observer.observe(more);
}

function showSelection() {
  const count = selected().length;
  $('#bulk').hidden = count === 0;
  $('#selected').textContent = count;
}

async function change(path, ids, more, done) {
  if (!ids.length) return;
  try {
    const body = await (await send('POST', `/api/conversations/bulk/${path}`, { ids, ...more })).json();
    const failed = body.items.filter((one) => one.error);
    notice(failed.length ? `${failed.length} of ${ids.length} failed: ${failed[0].error}` : done.text, failed.length ? 'bad' : '', done.action);
  } catch (error) { fail(error); }
  await load({ quiet: true });
}

const words = (ids) => (ids.length === 1 ? '1 conversation' : `${ids.length} conversations`);
const bulk = {
  async tag(ids) {
    const given = await askText(`Tag ${words(ids)}`, '', 'key=value');
    if (!given) return;
    const [key, ...rest] = given.split('=');
    await change('tag', ids, { set: { [key.trim()]: rest.join('=').trim() } }, { text: `Tagged ${words(ids)}.` });
  },
  archive: (ids) => change('archive', ids, { archived: true }, { text: `Archived ${words(ids)}.` }),
  compare(ids) {
    if (ids.length === 2) location.assign(`${base}/compare?a=${ids[0]}&b=${ids[1]}`);
    else notice('Select two conversations to compare.', 'warn');
  },
  pin: (ids) => change('pin', ids, { pinned: true }, { text: `Pinned ${words(ids)}.` }),
  async export(ids) {
    try { await saveAs(await send('POST', '/api/conversations/bulk/export', { ids }), 'conversations.zip'); } catch (error) { fail(error); }
  },
  async delete(ids) {
    if (!ids.length || (ids.length > 1 && !(await askYes(`Move ${words(ids)} to the trash?`, 'Delete')))) return;
    undo = () => change('restore', ids, {}, { text: `Restored ${words(ids)}.` });
    await change('delete', ids, {}, { text: `Moved ${words(ids)} to the trash.`, action: { label: 'Undo', run: undo } });
  },
};

export const keys = {
  j: ['Next conversation', () => move(rows(), 1)],
  k: ['Previous conversation', () => move(rows(), -1)],
  Enter: ['Open', (event) => { if (event.target === document.body) $('a.t', current() ?? document.body)?.click(); }],
  x: ['Select', () => { const box = $('input', current() ?? document.createElement('i')); if (box) { box.checked = !box.checked; showSelection(); } }],
  e: ['Archive', () => bulk.archive(aimed())],
  s: ['Pin', () => bulk.pin(aimed())],
  l: ['Tag', () => bulk.tag(aimed())],
  '#': ['Delete', () => bulk.delete(aimed())],
  z: ['Undo a deletion', () => undo?.()],
};
