#!/usr/bin/env node
import { runCommandLine } from './program';

const controller = new AbortController();
let received: NodeJS.Signals | null = null;

// The first signal lets the command save and finish; the second ends it at once.
for (const [name, status] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  process.on(name, () => {
    if (received !== null) process.exit(status);
    received = name;
    controller.abort();
    process.stderr.write('\neinlinear: stopping after this step (again to stop at once)\n');
  });
}

// Whoever read our output (head, a pager) has had enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

void runCommandLine(process.argv.slice(2), {
  stdout: process.stdout,
  stderr: process.stderr,
  interactive: process.stderr.isTTY,
  signal: controller.signal,
  env: process.env,
}).then((status) => {
  process.exitCode = received === 'SIGTERM' && status === 130 ? 143 : status;
});
