// The token of this browser, and requests that bring it. A cookie would go to every port of this host; a header does not.
export const base = document.documentElement.dataset.base;
const NAME = 'convstore.token';
const HEADER = 'X-Session-API-Key';
let signedOut = () => {};

export const needsKey = () => document.documentElement.dataset.needsKey === 'yes';
export const onSignedOut = (then) => { signedOut = then; };

function session() {
  try {
    const kept = JSON.parse(localStorage.getItem(NAME) ?? 'null');
    return kept && kept.expires_at * 1000 > Date.now() ? kept : null;
  } catch {
    return null; // not what signIn kept
  }
}
const token = () => session()?.token ?? null;
export const readOnly = () => Boolean(session()?.read_only);

export const signedIn = () => !needsKey() || token() !== null;

// Exchange a code or the key for a token. Returns the reason if it fails.
export async function signIn(given) {
  let answer;
  try {
    answer = await fetch(`${base}/api/session`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(given),
    });
  } catch { return 'The server does not answer.'; }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) return typeof body.detail === 'string' ? body.detail : `The server answers ${answer.status}.`;
  localStorage.setItem(NAME, JSON.stringify(body));
  return null;
}

export async function signOut() {
  const kept = token();
  localStorage.removeItem(NAME);
  if (kept) await fetch(`${base}/api/session`, { method: 'DELETE', headers: { [HEADER]: kept } }).catch(() => {});
}

export class Failure extends Error {
  constructor(status, detail, code, retryAfter) {
    super(detail);
    Object.assign(this, { status, code, retryAfter });
  }

  // Whether the same request may succeed later.
  get mayPass() { return this.status === 0 || (this.status === 503 && this.code !== 'query_too_slow'); }
}

// Ask the server, with the token. Throws a Failure with the server's words; status 0 when it does not answer.
export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const kept = token();
  if (kept) headers.set(HEADER, kept);
  let answer;
  try {
    answer = await fetch(base + path, { ...options, headers });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(0, 'The server does not answer.');
  }
  if (answer.ok) return answer;
  const body = await answer.json().catch(() => ({}));
  if (answer.status === 401) {
    localStorage.removeItem(NAME);
    signedOut();
  }
  const detail = typeof body.detail === 'string' ? body.detail : `The server answers ${answer.status}.`;
  throw new Failure(answer.status, detail, body.code, Number(answer.headers.get('Retry-After') ?? 0));
}

export const send = (method, path, body) => ask(path, {
  method, headers: { 'Content-Type': 'application/json' }, body: body === undefined ? undefined : JSON.stringify(body),
});
