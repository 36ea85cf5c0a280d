// The trash: restore what was deleted.
import { swap, notice, whileLoading, untilAnswered } from './dom.js';
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
  document.body.classList.add('wide');
  await load();
  document.addEventListener('click', async (event) => {
    const button = event.target.closest('[data-restore], [data-offset]');
    if (button?.dataset.offset) await load(button.dataset.offset);
    if (!button?.dataset.restore) return;
    const id = button.dataset.restore;
    try {
      await send('POST', `/api/conversations/${id}/restore`);
      notice('Restored.', '', { label: 'Open', run: () => location.assign(`${base}/c/${id}`) });
    } catch (error) { notice(error.message, 'bad'); }
    await load();
  });
}
