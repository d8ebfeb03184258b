import { BENCH_LAYERS, benchLayers, type BenchLayer } from '../../lib/bench';
import { defaultDevice } from '../../lib/tensor';
import { expectMemoryBack } from '../support/memory';

expectMemoryBack();

const options = { widths: [16], tokens: 8, repeats: 3, threads: 1, peer: null };

test('every layer is timed, forward and with backward', async () => {
  const rows = await benchLayers({ ...options, device: defaultDevice(), layers: BENCH_LAYERS });
  expect(rows.map((row) => `${row.layer} ${row.pass}`)).toEqual(
    BENCH_LAYERS.flatMap((layer) => [`${layer} forward`, `${layer} forward+backward`]),
  );
  for (const row of rows) {
    expect(row).toMatchObject({ d: 16, tokens: 8, dtype: 'float32', peer: null, ratio: null });
    expect(row.ours_range[0]).toBeGreaterThan(0);
    expect(row.ours_ms).toBeGreaterThanOrEqual(row.ours_range[0]);
    expect(row.ours_ms).toBeLessThanOrEqual(row.ours_range[1]);
  }
});

test('an unknown layer is refused by name before any is timed', async () => {
  const layers = ['dense', 'conv' as BenchLayer] as const;
  const onRow = jest.fn();
  const run = benchLayers({ ...options, device: defaultDevice(), layers, onRow });
  await expect(run).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('conv') as string,
  });
  expect(onRow).not.toHaveBeenCalled();
});

test('an abort ends it with the rows so far', async () => {
  const controller = new AbortController();
  const { signal } = controller;
  const onRow = jest.fn(() => controller.abort());
  const run = benchLayers({
    ...options,
    device: defaultDevice(),
    layers: BENCH_LAYERS,
    onRow,
    signal,
  });
  await expect(run).rejects.toMatchObject({ code: 'ABORTED', details: { layer: 'dense' } });
  expect(onRow).toHaveBeenCalledTimes(1);
});
