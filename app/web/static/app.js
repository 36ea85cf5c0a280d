// The shell: theme, signing in, and the page that the address names.
import { signedIn, signIn, signOut, needsKey, onSignedOut, readOnly } from './session.js';
import { $, showTimes, notice } from './dom.js';
import { startKeys } from './keys.js';

const root = document.documentElement;
const theme = localStorage.getItem('convstore.theme');
if (theme) root.dataset.theme = theme;
$('#theme').addEventListener('click', () => {
  const dark = getComputedStyle(root).colorScheme === 'dark'
    || (root.dataset.theme !== 'light' && matchMedia('(prefers-color-scheme: dark)').matches && !root.dataset.theme);
  root.dataset.theme = dark ? 'light' : 'dark';
  localStorage.setItem('convstore.theme', root.dataset.theme);
});

const pages = {
  list: () => import('./list.js'),
  conversation: () => import('./conversation.js'),
  overview: () => import('./overview.js'),
  trash: () => import('./trash.js'),
  edits: () => import('./edits.js'),
  compare: () => import('./compare.js'),
};

const WRITES = new Set(['Pin', 'Pin or unpin', 'Archive', 'Archive, or take out of the archive', 'Tag', 'Delete', 'Undo']);

async function start() {
  $('#sign-out').hidden = !needsKey();
  document.body.classList.toggle('read-only', readOnly());
  const page = await pages[root.dataset.page]();
  startKeys(Object.fromEntries(Object.entries(page.keys ?? {}).filter(([, [what]]) => !(readOnly() && WRITES.has(what)))));
  await page.start();
  setInterval(showTimes, 30_000);
}

function ask() {
  const main = $('#main');
  if ($('#sign-in-form')) return; // of several requests that are refused, the first asks
  $('#side').hidden = true;
  document.body.classList.add('signed-out');
  main.replaceChildren($('#sign-in').content.cloneNode(true));
  const form = $('#sign-in-form');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const error = await signIn({ key: form.elements.key.value });
    const line = form.querySelector('[role=alert]');
    line.hidden = !error;
    line.textContent = error ?? '';
    if (!error) location.reload();
  });
  form.elements.key.focus();
}

$('#sign-out').addEventListener('click', async () => { await signOut(); ask(); });
onSignedOut(ask);

// Sign in with the code of the address, which leaves the address at once. Resolves to whether there was one.
async function spendCode() {
  const code = /^#login=([\w-]+)$/.exec(location.hash);
  if (!code) return false;
  history.replaceState(null, '', location.pathname + location.search);
  const error = await signIn({ code: code[1] });
  if (error) notice(error, 'bad');
  return !error;
}
await spendCode();
addEventListener('hashchange', async () => { if (await spendCode()) location.reload(); }); // pasted into this tab
if (signedIn()) await start();
else ask();
