// The overview: sums of a period that the address keeps.
import { swap, notice, whileLoading, untilAnswered } from './dom.js';
import { ask, base } from './session.js';

const load = async () => {
  const days = new URLSearchParams(location.search).get('days') ?? '30';
  const offset = -new Date().getTimezoneOffset();
  try {
    await whileLoading(async () => swap(await (await untilAnswered(() => ask(`/ui/overview?days=${encodeURIComponent(days)}&offset=${offset}`))).text()));
    swap(await (await ask('/ui/overview/disk')).text());
  } catch (error) {
    if (error.status !== 401) notice(error.message, 'bad');
  }
};

export async function start() {
  document.title = 'Overview · convstore';
  addEventListener('popstate', load);
  document.addEventListener('click', (event) => {
    const button = event.target.closest('[data-days], [data-doctor]');
    if (!button) return;
    if (button.dataset.days) history.pushState(null, '', `${base}/overview?days=${button.dataset.days}`);
    load();
  });
  await load();
}
