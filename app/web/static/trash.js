// The trash: restore what was deleted, or remove it for good.
import { swap, notice, askYes, whileLoading, untilAnswered } from './dom.js';
import { ask, base, send } from './session.js';

const load = async (offset = 0) => {
  try {
    await whileLoading(async () => swap(await (await untilAnswered(() => ask(`/ui/trash?offset=${offset}`))).text()));
  } catch (error) {
    if (error.status !== 401) notice(error.message, 'bad');
  }
};

export async function start() {
  document.title = 'Trash · convstore';
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('[data-restore], [data-remove], [data-offset]');
    if (!button) return;
    const { offset, restore, remove, name } = button.dataset;
    if (offset) { await load(offset); return; }
    if (remove && !(await askYes(`Remove “${name}” for good? It cannot be restored.`, 'Remove'))) return;
    try {
      if (remove) await ask(`/api/trash/${remove}`, { method: 'DELETE' });
      else await send('POST', `/api/conversations/${restore}/restore`);
      if (remove) notice('Removed for good.');
      else notice('Restored.', '', { label: 'Open', run: () => location.assign(`${base}/c/${restore}`) });
    } catch (error) { notice(error.message, 'bad'); }
    await load();
  });
  await load();
}
