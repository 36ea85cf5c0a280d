// Keyboard shortcuts. Single keys can be turned off, as WCAG 2.1.4 asks.
import { tinykeys } from './tinykeys.js';
import { $ } from './dom.js';
import { base } from './session.js';

const OFF = 'convstore.keys-off';
const go = (path) => () => location.assign(base + path);

const everywhere = {
  '/': ['Search', () => $('#find input').focus()],
  'g l': ['Go to the list', go('/')],
  'g o': ['Go to the overview', go('/overview')],
  'g t': ['Go to the trash', go('/trash')],
  '?': ['Show the keys', () => $('#keys').showModal()],
};
const spelled = { '?': 'Shift+?', '#': 'Shift+#', J: 'Shift+J', K: 'Shift+K' };
const anyShift = ['?', '#']; // some keyboards have them without Shift; a J without Shift is a j

// `keys`: {key: [what it does, function]}, those of one page.
export function startKeys(keys) {
  const all = { ...everywhere, ...keys };
  const handlers = {};
  for (const [key, [, run]] of Object.entries(all)) {
    const handler = (event) => {
      if (localStorage.getItem(OFF) || event.target.closest?.('input:not([type=checkbox]), textarea, select, dialog')) return;
      if (key === 'Enter' && event.target.closest?.('a, button, summary')) return; // which do it themselves
      event.preventDefault();
      run(event);
    };
    handlers[spelled[key] ?? key] = handler;
    if (anyShift.includes(key)) handlers[key] = handler;
  }
  tinykeys(window, handlers);
  $('#keylist').replaceChildren(...Object.entries(all).flatMap(([key, [what]]) => {
    const term = document.createElement('dt');
    for (const one of key.split(' ')) {
      const shown = document.createElement('kbd');
      shown.textContent = one;
      term.append(shown, ' ');
    }
    const description = document.createElement('dd');
    description.textContent = what;
    return [term, description];
  }));
  $('#help').addEventListener('click', () => $('#keys').showModal());
  const on = $('#keys-on');
  on.checked = !localStorage.getItem(OFF);
  on.addEventListener('change', () => (on.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, '1')));
  $('#find input').addEventListener('keydown', (event) => { if (event.key === 'Escape') event.target.blur(); });
}

// Move the mark `cur` among elements, and the focus to `part` of the one that has it then. Return that element.
export function move(elements, step, part) {
  const at = elements.findIndex((one) => one.classList.contains('cur'));
  const next = elements[Math.max(0, Math.min(elements.length - 1, at + step))];
  if (!next) return null;
  elements[at]?.classList.remove('cur');
  next.classList.add('cur');
  $(part, next).focus({ preventScroll: true });
  next.scrollIntoView({ block: 'nearest' });
  return next;
}
