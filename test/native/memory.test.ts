import { spawnSync } from 'node:child_process';
import path from 'node:path';

// Buffers that nobody frees are the garbage collector's; those that are freed should not trouble it.

const addon =
  process.env.EINLINEAR_BINARY ??
  path.resolve(__dirname, '..', '..', 'build', 'Release', 'einlinear.node');

/** What a program that runs by itself, with `device` and `collections()`, prints as JSON. */
function run(body: string): unknown {
  const source = `
    const { PerformanceObserver, constants } = require('node:perf_hooks');
    let collections = 0;
    const count = (list) => {
      for (const { detail } of list.getEntries())
        if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
    };
    const observer = new PerformanceObserver(count);
    observer.observe({ entryTypes: ['gc'] });
    const turn = () => new Promise(setImmediate);
    const device = require(${JSON.stringify(addon)}).openDevice('cpu', { threads: 1 });
    (async () => {
      ${body}
    })().then((result) => {
      observer.disconnect();
      console.log(JSON.stringify(result));
    });`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['-e', source], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(stderr);
  return JSON.parse(stdout);
}

test('steps that free what they allocate make V8 collect nothing', () => {
  const collections = run(`
    const weights = device.allocate(2 ** 20);
    const step = () => {
      const saved = Array.from({ length: 100 }, () => device.allocate(2 ** 20));
      for (const buffer of saved) device.free(buffer);
    };
    step();
    await turn();
    await turn();
    const before = collections;
    for (let i = 0; i < 50; i++) {
      step();
      await turn();
    }
    device.free(weights);
    return collections - before;
  `);
  expect(collections).toBeLessThan(5);
});

test('buffers that nobody frees are collected', () => {
  const most = run(`
    let most = 0;
    for (let i = 0; i < 2000; i++) {
      device.allocate(2 ** 20);
      if (i % 10 === 0) await turn();
      most = Math.max(most, device.memory().bytes);
    }
    return most;
  `);
  expect(most).toBeLessThan(2 ** 29);
});
