import { resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import { tensor, tidy } from '../../lib/tensor';

// A worker starts outside of Jest, so it translates the sources itself.
const source = `
  const { parentPort, workerData } = require('node:worker_threads');
  const { readFileSync } = require('node:fs');
  const ts = require(workerData.typescript);
  require.extensions['.ts'] = (module, file) =>
    module._compile(
      ts.transpileModule(readFileSync(file, 'utf8'), {
        compilerOptions: { module: 'commonjs', target: 'es2022', esModuleInterop: true },
      }).outputText,
      file,
    );
  const { memory, tensor, tidy } = require(workerData.library);
  const { seed } = workerData;
  const gradient = tidy(() => {
    const x = tensor([seed, seed + 1], { requiresGrad: true });
    x.square().sum().backward();
    return Array.from(x.grad.dataSync());
  });
  const failure = (() => {
    try {
      tensor([1, 2]).add(tensor([1, 2, 3]));
    } catch (error) {
      return error.code;
    }
  })();
  tensor([1, 2, 3]).data().then((data) => {
    parentPort.postMessage({ gradient, failure, data: Array.from(data), tensors: memory().tensors });
  });
`;

function inWorker(seed: number): Promise<unknown> {
  return new Promise((done, failed) => {
    const worker = new Worker(source, {
      eval: true,
      workerData: {
        seed,
        typescript: require.resolve('typescript'),
        library: resolve(__dirname, '../../lib/tensor/index.ts'),
      },
    });
    worker.once('message', done);
    worker.once('error', failed);
  });
}

test('several worker threads beside the main thread', async () => {
  const running = [1, 2, 3].map(inWorker);
  tidy(() => {
    for (let i = 0; i < 100; i++) {
      expect([...tensor([i]).add(1).dataSync()]).toEqual([i + 1]);
    }
  });
  const results = await Promise.all(running);
  results.forEach((result, i) => {
    const seed = i + 1;
    expect(result).toEqual({
      gradient: [2 * seed, 2 * (seed + 1)],
      failure: 'SHAPE_MISMATCH',
      data: [1, 2, 3],
      tensors: 3,
    });
  });
});
