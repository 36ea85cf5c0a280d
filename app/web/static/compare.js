// Two conversations side by side; the address names them.
import { swap, notice, whileLoading, untilAnswered } from './dom.js';
import { ask } from './session.js';

export async function start() {
  document.title = 'Compare · convstore';
  try {
    await whileLoading(async () => swap(await (await untilAnswered(() => ask(`/ui/compare${location.search}`))).text()));
  } catch (error) {
    if (error.status !== 401) notice(error.status === 422 ? 'Select two conversations in the list to compare them.' : error.message, 'bad');
  }
}
