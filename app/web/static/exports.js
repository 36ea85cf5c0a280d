// Have the server make an export as a file, and save it. A download that breaks goes on where it ended.
import { notice, saveAs } from './dom.js';
import { ask, readOnly, send } from './session.js';

const PAUSE_MS = 1000;
const BREAKS_MAX = 10;
const pause = () => new Promise((resolve) => { setTimeout(resolve, PAUSE_MS); });

// Wait until the server has made an export, or has failed to.
async function untilMade(id) {
  for (;;) {
    const { items } = await (await ask('/api/exports')).json();
    const one = items.find((item) => item.id === id);
    if (one?.phase !== 'making') return;
    notice(`Please wait: the export has ${one.size_bytes.toLocaleString()} bytes so far.`);
    await pause();
  }
}

async function download(path) {
  const parts = [];
  let size = 0;
  for (let breaks = 0; ; breaks += 1) {
    try {
      const range = size ? { headers: { Range: `bytes=${size}-` } } : {};
      const reader = (await ask(path, range)).body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return new Blob(parts);
        parts.push(new Blob([value])); // a browser may keep a Blob on disk
        size += value.length;
      }
    } catch (error) {
      if (error.status || breaks === BREAKS_MAX) throw error; // an error without a status is a broken connection
      await pause();
    }
  }
}

export async function saveExport(asked, name) {
  const made = await (await send('POST', '/api/exports', asked)).json();
  const path = `/api/exports/${made.id}`;
  await untilMade(made.id);
  await saveAs(new Response(await download(path)), name);
  notice('');
  if (!readOnly()) await send('DELETE', path);
}
