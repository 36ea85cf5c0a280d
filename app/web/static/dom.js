// Elements, fragments, times, notices and dialogs. `swap` is the one place where text becomes HTML.
export const $ = (selector, from = document) => from.querySelector(selector);
export const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

const policy = window.trustedTypes?.createPolicy('convstore', { createHTML: (html) => html })
  ?? { createHTML: (html) => html };

// Return the content of a fragment that this server rendered and escaped.
export function parse(html) {
  const template = document.createElement('template');
  template.innerHTML = policy.createHTML(html);
  return template.content;
}

// Put each part of a fragment, <div data-part="main">, in the place of that name.
export function swap(html) {
  const content = parse(html);
  keepFocus(() => {
    for (const part of $$('[data-part]', content)) {
      const place = $(`#${part.dataset.part}`);
      place.hidden = false;
      place.replaceChildren(...part.childNodes);
    }
  });
  showTimes();
}

const TELLING = ['data-act', 'data-bulk', 'data-group', 'data-said', 'data-days', 'data-doctor', 'data-seq', 'data-id', 'title', 'href', 'name', 'type'];

// Return a selector of the element that takes the place of this one when its surroundings are rendered again.
function describe(one) {
  if (one.id) return `#${CSS.escape(one.id)}`;
  const around = one.parentElement?.closest('[data-seq], [data-id], [id]');
  const outer = !around ? '' : around.id ? `#${CSS.escape(around.id)} ` : `[data-id="${CSS.escape(around.dataset.id)}"] `;
  const name = TELLING.find((attribute) => one.hasAttribute(attribute));
  return `${outer}${one.localName}${name ? `[${name}="${CSS.escape(one.getAttribute(name))}"]` : ''}`;
}

// Do work that replaces elements. The focus goes to what took the place of the element that had it, or else to the page.
export function keepFocus(work) {
  const before = document.activeElement;
  const place = before && before !== document.body && describe(before);
  work();
  if (place && !before.isConnected) ($(place) ?? $('#main')).focus({ preventScroll: true });
}

const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' });
const sameYear = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric' });
const otherYear = new Intl.DateTimeFormat(undefined, { year: 'numeric', month: 'short', day: 'numeric' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'short' });

export function showTimes() {
  const now = Date.now();
  for (const time of $$('time[data-ago]')) {
    const at = new Date(time.dateTime);
    const seconds = (at - now) / 1000;
    time.title = full.format(at);
    if (seconds > -60) time.textContent = relative.format(Math.round(seconds), 'second');
    else if (seconds > -3600) time.textContent = relative.format(Math.round(seconds / 60), 'minute');
    else if (seconds > -86400) time.textContent = relative.format(Math.round(seconds / 3600), 'hour');
    else if (seconds > -6 * 86400) time.textContent = relative.format(Math.round(seconds / 86400), 'day');
    else time.textContent = (at.getFullYear() === new Date(now).getFullYear() ? sameYear : otherYear).format(at);
  }
}

// A line at the top that stays until it is taken away; with `action`, {label, run}, a button in it.
export function banner(text, action = null) {
  const place = $('#banner');
  place.replaceChildren(text, ...(action ? [' ', makeButton(action.label, action.run)] : []));
  place.hidden = !text;
}

function makeButton(label, run) {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'link';
  button.textContent = label;
  button.addEventListener('click', run);
  return button;
}

let retry = 0;

// Say that a request failed, count down, and then call `run`.
export function tryAgain(error, run) {
  tryAgain.stop();
  let left = error.retryAfter || 5;
  const now = () => { tryAgain.stop(); run(); };
  const tick = () => {
    if (left <= 0) { now(); return; }
    banner(`${error.message} Trying again in ${left} s.`, { label: 'Now', run: now });
    left -= 1;
  };
  retry = setInterval(tick, 1000);
  tick();
}
tryAgain.stop = () => { clearInterval(retry); banner(''); };

// Call `get`, again and again while the server does not answer, or answers that it is not ready.
export async function untilAnswered(get) {
  for (;;) {
    try { return await get(); } catch (error) {
      if (!error.mayPass) throw error;
      await new Promise((resolve) => { tryAgain(error, resolve); });
    }
  }
}

let clearing;

// Say something at the foot of the page; with `action`, {label, run}, a button beside it.
export function notice(text, kind = '', action = null) {
  const place = $('#notice');
  clearTimeout(clearing);
  place.className = `notice ${kind}`;
  place.replaceChildren(text);
  if (action) {
    place.append(' ', makeButton(action.label, async () => {
      place.hidden = true;
      try { await action.run(); } catch (error) { if (error.status !== 401) notice(error.message, 'bad'); }
    }));
  }
  place.hidden = !text;
  if (text) clearing = setTimeout(() => { place.hidden = true; }, action ? 12_000 : 6_000);
}

// Ask for a text. Resolves to the text, or null if the dialog was closed.
export function askText(title, value, label, ok = 'Save') {
  const dialog = $('#ask');
  const form = $('form', dialog);
  const heading = document.createElement('h2');
  heading.textContent = title;
  const field = document.createElement('label');
  const input = document.createElement('input');
  input.value = value ?? '';
  field.append(label, ' ', input);
  const buttons = document.createElement('p');
  for (const [text, answer, style] of [['Cancel', '', ''], [ok, 'ok', 'on']]) {
    const button = document.createElement('button');
    button.className = `btn ${style}`;
    button.value = answer;
    button.textContent = text;
    if (answer === '') button.formNoValidate = true;
    buttons.append(button, ' ');
  }
  form.replaceChildren(heading, ...(value === undefined ? [] : [field]), buttons);
  dialog.returnValue = '';
  form.onkeydown = (event) => {
    if (event.key === 'Enter' && event.target === input) {
      event.preventDefault();
      dialog.close('ok');
    }
  };
  dialog.showModal();
  (value === undefined ? buttons.lastElementChild : input).focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue === 'ok' ? input.value : null), { once: true });
  });
}

// Ask to choose one of some [value, label]. Resolves to the value, or null if the dialog was closed.
export function askOne(title, choices) {
  const dialog = $('#ask');
  const heading = document.createElement('h2');
  heading.textContent = title;
  const buttons = document.createElement('p');
  for (const [value, label] of [['', 'Cancel'], ...choices]) {
    const button = document.createElement('button');
    button.className = value ? 'btn on' : 'btn';
    button.value = value;
    button.textContent = label;
    buttons.append(button, ' ');
  }
  $('form', dialog).onkeydown = null;
  $('form', dialog).replaceChildren(heading, buttons);
  dialog.returnValue = '';
  dialog.showModal();
  buttons.children[1].focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => resolve(dialog.returnValue || null), { once: true });
  });
}

// Resolves to whether the user agrees.
export const askYes = async (title, ok) => (await askText(title, undefined, '', ok)) !== null;

// Dim the old content if new content takes longer than 150 ms.
export async function whileLoading(work) {
  const main = $('#main');
  const timer = setTimeout(() => main.classList.add('loading'), 150);
  try {
    return await work();
  } finally {
    clearTimeout(timer);
    main.classList.remove('loading');
  }
}

// Save what an answer holds as a file.
export async function saveAs(answer, name) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-folds]');
  if (!button) return;
  const open = button.getAttribute('aria-expanded') !== 'true';
  button.setAttribute('aria-expanded', String(open));
  button.closest('.side').classList.toggle('unfolded', open);
});
