// The order of the list that was last shown in this tab, or else in this browser, for steps from conversation to conversation.
const NAME = 'convstore.list';

export function keepList(ids) {
  const text = JSON.stringify(ids);
  sessionStorage.setItem(NAME, text);
  localStorage.setItem(NAME, text);
}

// Return [the id beside `id` in that list, ''], or [null, the reason].
export function neighbour(id, direction) {
  const ids = JSON.parse(sessionStorage.getItem(NAME) ?? localStorage.getItem(NAME) ?? '[]');
  const plain = (one) => one.replaceAll('-', '');
  const at = ids.findIndex((one) => plain(one) === plain(id));
  if (at < 0) return [null, 'The last list that was shown does not have this conversation.'];
  const next = ids[at + direction];
  return next ? [next, ''] : [null, direction > 0 ? 'This is the last one that the list showed.' : 'This is the first one of the list.'];
}
