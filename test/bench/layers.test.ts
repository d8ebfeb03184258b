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

test('an unknown layer is refused by name', async () => {
  const layers = ['conv' as BenchLayer];
  await expect(benchLayers({ ...options, device: defaultDevice(), layers })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('conv') as string,
  });
});
