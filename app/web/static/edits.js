// The changes of one file in all conversations; the address names it.
import { swap, notice, whileLoading, untilAnswered } from './dom.js';
import { ask } from './session.js';

export async function start() {
  document.title = 'Changes · convstore';
  try {
    await whileLoading(async () => swap(await (await ask(`/ui/edits${location.search}`)).text()));
  } catch (error) {
    if (error.status !== 401) notice(error.message, 'bad');
  }
}
