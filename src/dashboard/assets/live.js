// Keeps the parts of a page marked `data-live` current: it fetches the page again and takes those parts from it. Without
// scripts the page shows the same figures, but only after a reload.
const main = document.querySelector('main[data-refresh]');
const button = document.querySelector('[data-pause]');
let paused = false;

if (button instanceof HTMLButtonElement) {
  button.hidden = false;
  button.addEventListener('click', () => {
    paused = !paused;
    button.textContent = paused ? 'Resume updates' : 'Pause updates';
    if (!paused) void refresh();
  });
}

async function refresh() {
  const response = await fetch(location.href, { headers: { accept: 'text/html' }, cache: 'no-store' });
  // The session is over, so show the sign-in page.
  if (response.redirected) return location.reload();
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  const page = new DOMParser().parseFromString(await response.text(), 'text/html');
  for (const part of document.querySelectorAll('[data-live]')) {
    const fresh = page.querySelector(`[data-live="${part.getAttribute('data-live')}"]`);
    // Keep a part that has the focus: its link or button must not vanish while somebody uses it.
    if (fresh === null || part.contains(document.activeElement) || part.innerHTML === fresh.innerHTML)
      continue;
    const open = [...part.querySelectorAll('details')].map((details) => details.open);
    part.replaceChildren(...fresh.childNodes);
    part.querySelectorAll('details').forEach((details, i) => (details.open = open[i] ?? false));
  }
  document.dispatchEvent(new Event('tierline:refreshed'));
}

if (main !== null) {
  const every = Number(main.getAttribute('data-refresh'));
  const tick = async () => {
    try {
      if (!paused && !document.hidden) await refresh();
      main.removeAttribute('data-stale');
    } catch {
      main.setAttribute('data-stale', '');
    }
    setTimeout(() => void tick(), every);
  };
  setTimeout(() => void tick(), every);
}
