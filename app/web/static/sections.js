// The sections of a log. Those near the window are in the document; a space above and one below stand for the others.
import { $, $$, parse } from './dom.js';

export const SECTION = 50; // of 100, a page of many short events has over 3,000 elements
const ROW_HEIGHT = 44;
const NEAR = 1500;
const FAR = 3000;
const TALLEST = 30_000_000; // browsers cut an element that is a little taller than this
const AT_ONCE = 4; // sections in one request

let log = null;
let above = null;
let below = null;
let get = null; // (from, limit, signal) => the HTML of these events
let dress = null; // changes events before they are shown
let atEnd = null; // () => whether the window stays at the end of the page
let starts = []; // the first numbers of the sections with events
let end = -1; // the number of the last event
let lo = 0; // starts[lo] to starts[hi - 1] are in the document
let hi = 0;
let guess = 0; // the height of a whole section that was never shown
let heights = new Map();
let filled = new Map(); // the requests of the sections in the document: {done, ready}
let turn = 0; // counts what moves to another place; the last one wins

const READY = { done: Promise.resolve(), ready: true };

// Take over the log of a fragment, with the sections that it brings.
export function begin({ last, height, fetch, prepare, follows }) {
  log = $('#log');
  turn += 1;
  [get, dress, atEnd, end] = [fetch, prepare, follows, last];
  starts = [];
  for (const [from, to] of JSON.parse(log.dataset.ranges)) for (let start = from; start <= to; start += SECTION) starts.push(start);
  guess = Math.min(height ?? SECTION * ROW_HEIGHT, TALLEST / Math.max(starts.length, 1));
  [heights, filled] = [new Map(), new Map()];
  const given = $('[data-rest]', log) ? [] : $$('.part', log); // a part that is not whole is asked for again
  [above, below] = [space(), space()];
  if (starts.length) for (const one of [...log.children]) if (!given.includes(one)) one.remove();
  log.prepend(above); // the given parts stay in place: if they were taken out and put back, they would be laid out twice
  log.append(below);
  lo = Math.max(starts.indexOf(Number(given[0]?.dataset.from)), 0);
  hi = lo + given.length;
  for (const part of given) {
    filled.set(Number(part.dataset.from), READY);
    dress(part);
  }
  setSpaces();
}

export const isEmpty = () => starts.length === 0;

function space() {
  const made = document.createElement('div');
  made.className = 'space';
  return made;
}

const height = (from) => heights.get(from) ?? guess * Math.min(1, (end - from + 1) / SECTION);
const parts = () => $$('.part', log);
const place = (seq) => Math.max(starts.findLastIndex((start) => start <= seq), 0);

function setSpaces() {
  let [before, after] = [0, 0];
  for (let at = 0; at < lo; at += 1) before += height(starts[at]);
  for (let at = hi; at < starts.length; at += 1) after += height(starts[at]);
  above.style.height = `${before}px`;
  below.style.height = `${after}px`;
}

// Have starts[from] to starts[to - 1] in the document, and no others.
function hold(from, to) {
  if (from === lo && to === hi) return;
  const kept = new Map(parts().map((part) => [Number(part.dataset.from), part]));
  const wanted = starts.slice(from, to);
  for (const [start, part] of kept) {
    if (start >= wanted[0] && start <= wanted.at(-1)) continue;
    if (part.contains(document.activeElement)) $('#main').focus({ preventScroll: true });
    part.remove();
    drop(start);
  }
  let after = above;
  for (const start of wanted) {
    const part = kept.get(start) ?? make(start);
    if (after.nextElementSibling !== part) after.after(part);
    after = part;
  }
  [lo, hi] = [from, to];
  setSpaces();
}

function make(from) {
  const part = document.createElement('section');
  part.className = 'part';
  part.dataset.from = String(from);
  part.style.minHeight = `${height(from)}px`;
  return part;
}

function drop(start) {
  const work = filled.get(start);
  filled.delete(start);
  if (work?.abort && !work.froms.some((from) => filled.get(from) === work)) work.abort.abort();
}

// Ask for sections that follow one another, and resolve to [[first number, content]].
async function load(froms, signal) {
  const contents = new Map(froms.map((from) => [from, document.createDocumentFragment()]));
  const stop = froms.at(-1) + SECTION;
  for (let from = froms[0]; from !== null;) {
    const answer = parse(await get(from, stop - from, signal));
    for (const part of $$('.part', answer)) contents.get(Number(part.dataset.from))?.append(...part.childNodes);
    const rest = $('[data-rest]', answer);
    from = rest ? Number(rest.dataset.rest) : null;
  }
  return [...contents];
}

// Put contents into their sections. Events that did not change stay as they are, open or with the focus.
function put(contents) {
  keepPlace(() => {
    for (const [from, content] of contents) {
      const part = $(`.part[data-from="${from}"]`, log);
      if (!part) continue;
      dress(content);
      if (part.childElementCount) patch(part, content);
      else part.append(content);
      part.style.minHeight = '';
    }
  });
}

function patch(part, content) {
  let old = part.firstElementChild;
  for (const fresh of [...content.children]) {
    while (old?.matches('.rule.new')) old = old.nextElementSibling;
    if (!old) part.append(fresh);
    else {
      const next = old.nextElementSibling;
      if (!isSame(old, fresh)) {
        const focused = old.contains(document.activeElement);
        old.replaceWith(fresh);
        if (focused) fresh.focus({ preventScroll: true });
      }
      old = next;
    }
  }
  while (old) { const next = old.nextElementSibling; old.remove(); old = next; }
}

const TELLING = ['seq', 'id', 'with', 'waits'];

function isSame(one, other) {
  if (!one.matches('article')) return one.isEqualNode(other);
  const result = (from) => $('details[data-event]', from)?.dataset.observation;
  return other.matches('article') && TELLING.every((name) => one.dataset[name] === other.dataset[name])
    && result(one) === result(other) && $('.child', one)?.textContent === $('.child', other)?.textContent;
}

// Group the sections that follow one another.
function join(froms) {
  const groups = [];
  for (const from of froms) {
    const group = groups.at(-1);
    if (group && group.length < AT_ONCE && group.at(-1) === from - SECTION) group.push(from);
    else groups.push([from]);
  }
  return groups;
}

// Fill sections; with `again`, those too that are filled. Resolves to whether there were any.
async function fill(froms, { again = false } = {}) {
  const missing = froms.filter((from) => again || !filled.has(from));
  for (const group of join(missing)) {
    const work = { froms: group, abort: new AbortController() };
    const current = () => group.some((from) => filled.get(from) === work);
    work.done = load(group, work.abort.signal).then(
      (contents) => { work.ready = true; put(contents.filter(([from]) => filled.get(from) === work)); },
      (error) => {
        const wanted = current();
        for (const from of group) if (filled.get(from) === work) filled.delete(from);
        if (wanted) throw error;
      },
    );
    for (const from of group) filled.set(from, work);
  }
  await Promise.all(froms.map((from) => filled.get(from)?.done));
  return missing.length > 0;
}

// What changes above the window moves nothing in it. A window at the end of the page stays there.
function keepPlace(work) {
  if (atEnd()) { work(); scrollTo({ top: document.documentElement.scrollHeight, behavior: 'instant' }); return; }
  const shown = (one) => { const box = one.getBoundingClientRect(); return box.height > 0 && box.bottom > 0; };
  let anchor;
  for (const part of parts()) if (!anchor && shown(part)) anchor = $$('.ev', part).find(shown);
  if (!anchor) { work(); return; }
  const before = anchor.getBoundingClientRect().top;
  work();
  const now = anchor.isConnected ? anchor : $(`.ev[data-seq="${anchor.dataset.seq}"]`, log);
  const moved = now ? now.getBoundingClientRect().top - before : 0;
  if (moved) scrollBy({ top: moved, behavior: 'instant' });
}

// Have the sections in the document that fill the window with this event at its top. Resolves to whether no other call
// came after it.
export async function show(seq) {
  const own = turn += 1;
  if (isEmpty()) return false;
  let from = place(seq);
  let to = from + 1;
  if (seq - starts[from] >= SECTION / 2) to = Math.min(to + 1, starts.length);
  else if (end - seq < SECTION / 2) from = Math.max(from - 1, 0);
  const wanted = starts.slice(from, to);
  if (from <= hi && to >= lo) {
    keepPlace(() => hold(Math.min(from, lo), Math.max(to, hi)));
    await fill(wanted);
    return own === turn;
  }
  const loaded = (await Promise.all(join(wanted).map((group) => load(group)))).flat(); // what is on the screen stays until then
  if (own !== turn) return false;
  hold(from, to);
  for (const start of wanted) filled.set(start, READY);
  put(loaded);
  return true;
}

// Have those sections in the document that are near the window, and fill them. Resolves to whether any were empty.
export async function arrange() {
  if (isEmpty()) return false;
  for (const part of parts()) {
    const from = Number(part.dataset.from);
    if (filled.get(from)?.ready) heights.set(from, part.getBoundingClientRect().height);
  }
  const top = -log.getBoundingClientRect().top;
  const within = (distance) => {
    let [first, after, y] = [-1, -1, 0];
    for (let at = 0; at < starts.length; at += 1) {
      const bottom = y + height(starts[at]);
      if (first < 0 && (bottom > top - distance || at === starts.length - 1)) first = at;
      if (y < top + innerHeight + distance || at === first) after = at + 1;
      else break;
      y = bottom;
    }
    return [first, after];
  };
  const [near, far] = [within(NEAR), within(FAR)];
  const kept = [Math.max(lo, far[0]), Math.min(hi, far[1])];
  if (kept[0] < kept[1]) hold(Math.min(near[0], kept[0]), Math.max(near[1], kept[1]));
  else hold(...near);
  return fill(starts.slice(...near));
}

// Take in events up to a new last one, and show again what may have changed since the event `from`.
export async function grow(from, last, { toEnd = false } = {}) {
  const first = Math.floor(Math.max(from, 0) / SECTION) * SECTION;
  for (let start = first; start <= last; start += SECTION) if (start > (starts.at(-1) ?? -1)) starts.push(start);
  if (last < end) starts = starts.filter((start) => start <= last); // the last events were taken back
  end = last;
  hold(Math.min(lo, starts.length), Math.min(hi, starts.length));
  setSpaces();
  const stale = starts.slice(lo, hi).filter((start) => start >= first && filled.has(start));
  await Promise.all([fill(stale, { again: true }), toEnd && show(last)]);
}
