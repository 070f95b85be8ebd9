const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
const parentCheckMs = 500;

/**
 * Calls `react` with the name of every signal that asks this process to end. npm passes signals to the shell it
 * runs a script in, and that shell just dies of them: its end counts as SIGTERM.
 */
export function onInterruption(react) {
  for (const name of signals) process.on(name, () => react(name));
  if (process.env.npm_lifecycle_event === undefined) return;
  const shell = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === shell) return;
    clearInterval(timer);
    react('SIGTERM');
  }, parentCheckMs);
  timer.unref();
}
