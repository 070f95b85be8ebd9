import { runProcess } from '../src/lifecycle/run-process.ts';

if (process.argv[2] === '--hash-password') {
  const [{ text }, { hashPassword }] = await Promise.all([
    import('node:stream/consumers'),
    import('../src/dashboard/password.ts'),
  ]);
  // From standard input: an argument would stand in the shell's history and in the list of processes.
  const password = (await text(process.stdin)).replace(/\r?\n$/, '');
  if (password === '') {
    console.error('Give the password on standard input.');
    process.exitCode = 2;
  } else {
    console.log(await hashPassword(password));
  }
} else {
  await runProcess('dashboard', () => import('./services/dashboard.ts'));
}
