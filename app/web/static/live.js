// Server-sent events over fetch, since EventSource cannot send the key.
import { banner } from './dom.js';
import { ask } from './session.js';

// Call `then` with each event of a stream. Connects again after an error, later each time; ends with `signal`.
export async function follow(path, then, { signal, onState = () => {} } = {}) {
  let wait = 1000;
  let last = null;
  while (!signal?.aborted) {
    try {
      const headers = { Accept: 'text/event-stream', ...(last ? { 'Last-Event-ID': last } : {}) };
      const answer = await ask(path, { headers, signal });
      onState('live');
      wait = 1000;
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const parts = (rest + value).split(/\r?\n\r?\n/);
        rest = parts.pop();
        for (const part of parts) {
          const fields = {}; // of data in several lines, the first one
          for (const line of part.split(/\r?\n/)) fields[line.split(':', 1)[0]] ??= line.slice(line.indexOf(':') + 1).trim();
          if (fields.id) last = fields.id;
          if (fields.data) then(fields);
        }
      }
    } catch (error) {
      if (error.name === 'AbortError' || error.status === 401) return;
      if (error.code === 'event_not_found' && last) last = null; // it was taken back: its append failed in the end
      else if (error.status === 404) { onState('gone'); return; }
    }
    if (signal?.aborted) return;
    onState('lost');
    await new Promise((resolve) => setTimeout(resolve, wait * (0.5 + Math.random())));
    wait = Math.min(wait * 2, 30_000);
  }
}

// Call `then` soon after conversations changed; many changes at once give one call.
export function followChanges(then) {
  let timer = null;
  const soon = () => { timer ??= setTimeout(() => { timer = null; then(); }, 700); };
  let before = '';
  const onState = (state) => {
    if (state === 'lost') banner('The connection to the server is lost. Trying again …');
    if (state === 'live' && before === 'lost') { banner(''); soon(); } // what changed while the stream was away
    before = state;
  };
  follow('/api/changes/stream?since=now', soon, { onState });
}
