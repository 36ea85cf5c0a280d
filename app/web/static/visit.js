// A visit: the list before it, the last event that was seen, and the first request, which does not wait for the other modules.
import { ask, base, signedIn } from './session.js';

const LIST = 'convstore.list';
const query = () => new URLSearchParams(location.search);
export const isSaid = () => query().get('view') === 'said';
export const findId = () => location.pathname.slice(base.length).split('/')[2];
export const askedEvent = () => { const asked = /^#e(\d+)$/.exec(location.hash); return asked && Number(asked[1]); };

// The number of the last event that was seen in a conversation, or -1.
export const findSeen = (id) => Number(localStorage.getItem(`convstore.seen.${id}`) ?? -1);
export const keepSeen = (id, seq) => localStorage.setItem(`convstore.seen.${id}`, String(seq));

// The address of a conversation's facts, and with `at` of the events around that one too; -1 is the last turn.
export const headPath = (id, at) => `/ui/c/${id}?said=${isSaid()}${at === undefined ? '' : `&at=${at}`}`;

// The number at which a conversation opens: what the address names, or what is new since the last visit, or the last turn.
export function openAt(id) {
  const seen = findSeen(id);
  return askedEvent() ?? (seen < 0 ? -1 : seen + 1);
}

// The filters of the list, with the time zone where days need one: to find it out takes longer than the rest.
export function listQuery(wanted = query()) {
  if (wanted.has('active')) wanted.set('tz', Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'UTC');
  return wanted;
}

const firstPaths = {
  list: () => `/ui/list?${listQuery()}`,
  conversation: () => headPath(findId(), openAt(findId())),
};
const firstPath = signedIn() && firstPaths[document.documentElement.dataset.page]?.();
let first = firstPath && ask(firstPath);
first?.catch?.(() => {}); // whoever takes the answer also takes the error

// Ask, or take the answer of the first request if it was for this.
export function askFirst(path, options) {
  const taken = path === firstPath ? first : null;
  first = null;
  return taken ?? ask(path, options);
}

// The order of the list that was last shown in this tab, or else in this browser, for steps from conversation to conversation.
export function keepList(ids) {
  const text = JSON.stringify(ids);
  sessionStorage.setItem(LIST, text);
  localStorage.setItem(LIST, text);
}

// Return [the id beside `id` in that list, ''], or [null, the reason].
export function neighbour(id, direction) {
  const ids = JSON.parse(sessionStorage.getItem(LIST) ?? localStorage.getItem(LIST) ?? '[]');
  const plain = (one) => one.replaceAll('-', '');
  const at = ids.findIndex((one) => plain(one) === plain(id));
  if (at < 0) return [null, 'The last list that was shown does not have this conversation.'];
  const next = ids[at + direction];
  return next ? [next, ''] : [null, direction > 0 ? 'This is the last one that the list showed.' : 'This is the first one of the list.'];
}
