// npm run test:mutations: proof that the tests on the emulated CUDA backend see what goes wrong in kernels.
// Each mutation breaks one line of a copy of the sources; the suite named beside it must then fail, under at
// least one order of the threads. A mutation that no test notices fails this run.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { at, cleanEnvironment, main, root, run } from './lib/project.mjs';
import { setup } from './setup.mjs';

const mutations = [
  {
    what: 'a barrier removed: block reductions read before all parts are there',
    file: 'native/cuda/block_reduce.h',
    from: '  __syncthreads();\n  return warpReduce',
    to: '  return warpReduce',
    suite: 'test/tensor/layerNorm',
  },
  {
    what: 'a barrier removed: a product reads panels before they are full',
    file: 'native/cuda/gemm_kernel.h',
    from: '      loadB.store(panelB[current]);\n    }\n    __syncthreads();',
    to: '      loadB.store(panelB[current]);\n    }',
    suite: 'test/tensor/matmul',
  },
  {
    what: 'a barrier removed: the sort counts before its counters are cleared',
    file: 'native/cuda/sort.h',
    from: '  if (lane == 31) warpTotal[warp] = below + total;\n  __syncthreads();',
    to: '  if (lane == 31) warpTotal[warp] = below + total;',
    suite: 'test/tensor/embedding',
  },
  {
    what: 'a wrong wait count: the first stage of the einsum does not wait for its copies',
    file: 'native/cuda/ops/einsum.cu',
    from: 'waitForCopies<2 * (kBuffers - 2)>()',
    to: 'waitForCopies<2 * (kBuffers - 1)>()',
    suite: 'test/tensor/einsum',
  },
  {
    what: 'a wrong wait count: the second stage of the einsum does not wait for its factor',
    file: 'native/cuda/ops/einsum.cu',
    from: 'waitForCopies<1>();  // all but',
    to: 'waitForCopies<9>();  // all but',
    suite: 'test/tensor/einsum',
  },
  {
    what: 'a wrong wait count: BTT-MoE does not wait for its second factor',
    file: 'native/cuda/ops/btt_moe_forward.h',
    from: '    waitForCopies<0>();\n    __syncthreads();\n\n    if (++at',
    to: '    waitForCopies<2>();\n    __syncthreads();\n\n    if (++at',
    suite: 'test/tensor/bttMoe',
  },
  {
    what: 'a swapped fragment: the halves of B in bfloat16 products of structured layers',
    file: 'native/cuda/einsum_math.h',
    from: 'multiplyBf16(d[1], a.r, b.r[2], b.r[3]);',
    to: 'multiplyBf16(d[1], a.r, b.r[3], b.r[2]);',
    suite: 'test/tensor/compute',
  },
  {
    what: 'a swapped fragment: transposed blocks of queries in bfloat16 attention',
    file: 'native/cuda/attention_products.h',
    from: 'loadMatrices(left[m], a + 16 * m * kStride + k);',
    to: 'loadMatricesTransposed(left[m], a + 16 * m * kStride + k);',
    suite: 'test/tensor/compute',
  },
  {
    what: 'an off-by-one bound: causal attention does not see the token itself',
    file: 'native/cuda/attention_tile.h',
    from: '(kOfKeys ? row <= column : column <= row)',
    to: '(kOfKeys ? row < column : column < row)',
    suite: 'test/tensor/attention',
  },
  {
    what: 'an off-by-one bound: a product writes a row too many',
    file: 'native/cuda/gemm_kernel.h',
    from: 'if (i >= rowsLeft || j >= columnsLeft) return;',
    to: 'if (i > rowsLeft || j >= columnsLeft) return;',
    suite: 'test/tensor/matmul',
  },
  {
    what: 'an off-by-one bound: a token id as large as the vocabulary is looked up',
    file: 'native/cuda/ops/embedding.cu',
    from: 'found = id >= 0 && id < vocab;',
    to: 'found = id >= 0 && id <= vocab;',
    suite: 'test/tensor/embedding',
  },
];

const copy = at('.build', 'mutants');
const tree = path.join(copy, 'tree');
const library = path.join(copy, 'build', 'Release', 'emulation', 'libeinlinear_cuda_emulated.so');

function build() {
  const jobs = String(os.availableParallelism());
  run('cmake', ['--build', tree, '--parallel', jobs, '--target', 'einlinear_cuda_emulated'], {
    quiet: true,
  });
}

/** Whether a suite passes on the library as it now is. */
function passes(suite, seed) {
  const { status } = spawnSync(
    process.execPath,
    [at('node_modules/jest/bin/jest.js'), '--forceExit', suite],
    {
      cwd: root,
      stdio: 'ignore',
      timeout: 300_000,
      env: cleanEnvironment({
        EINLINEAR_DEVICE: 'cuda-emulated',
        EINLINEAR_CUDA_EMULATION: library,
        EINLINEAR_EMULATION_SEED: seed,
      }),
    },
  );
  return status === 0;
}

function prepare() {
  fs.rmSync(copy, { recursive: true, force: true });
  fs.mkdirSync(copy, { recursive: true });
  fs.cpSync(at('native'), path.join(copy, 'native'), { recursive: true });
  fs.copyFileSync(at('CMakeLists.txt'), path.join(copy, 'CMakeLists.txt'));
  fs.symlinkSync(at('node_modules'), path.join(copy, 'node_modules'), 'junction');
  const options = ['-DEINLINEAR_EMULATION=ON', '-DEINLINEAR_CUDA=OFF'];
  run('cmake', ['-S', copy, '-B', tree, ...options], { quiet: true });
  build();
  for (const suite of new Set(mutations.map((mutation) => mutation.suite)))
    if (!passes(suite, '0')) throw new Error(`${suite} fails without any mutation`);
}

/** Whether the tests notice a mutation. */
function caught({ file, from, to, suite }) {
  const name = path.join(copy, file);
  const source = fs.readFileSync(name, 'utf8');
  if (source.split(from).length !== 2)
    throw new Error(
      `Expected ${file} to hold once: ${from} (the code has changed: mend the mutation)`,
    );
  fs.writeFileSync(name, source.replace(from, to));
  try {
    build();
    return ['0', '1', '7'].some((seed) => !passes(suite, seed));
  } finally {
    fs.writeFileSync(name, source);
  }
}

main(import.meta.url, () => {
  setup();
  prepare();
  let missed = 0;
  for (const mutation of mutations) {
    const seen = caught(mutation);
    if (!seen) missed += 1;
    process.stdout.write(`${seen ? 'caught' : 'MISSED'}  ${mutation.what} (${mutation.suite})\n`);
  }
  process.stdout.write(`\n${mutations.length - missed} passed, ${missed} failed\n`);
  if (missed > 0) process.exitCode = 1;
});
