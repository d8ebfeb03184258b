import { EinlinearError } from '../errors';
import { planBTT, planEinsum, parseTheta, type EinsumSizes } from '../structure';
import {
  type Device,
  type Tensor,
  einsum2,
  bttMoe,
  linear,
  moeRoute,
  randn,
  tidy,
} from '../tensor';
import { type Pass, type Peer } from './peer';

/** The layers that are timed, by the name of their row. */
export const BENCH_LAYERS = [
  'dense',
  'btt-r1',
  'btt-r4',
  'low-rank',
  'kronecker',
  'generic',
  'btt-moe-e8k2',
  'btt-moe-e16k2',
] as const;
export type BenchLayer = (typeof BENCH_LAYERS)[number];

/** One measurement. */
export interface BenchRow {
  readonly layer: BenchLayer;
  readonly d: number;
  readonly tokens: number;
  readonly pass: Pass;
  readonly dtype: 'float32';
  /** Median milliseconds of a call, and the smallest and largest. */
  readonly ours_ms: number;
  readonly ours_range: readonly [number, number];
  readonly peer: string | null;
  readonly peer_ms: number | null;
  readonly peer_range: readonly [number, number] | null;
  /** peer_ms / ours_ms */
  readonly ratio: number | null;
}

export interface BenchOptions {
  readonly device: Device;
  readonly layers: readonly BenchLayer[];
  readonly widths: readonly number[];
  readonly tokens: number;
  /** Timed calls a row, after one that warms up. */
  readonly repeats: number;
  readonly threads: number;
  readonly peer: Peer | null;
  readonly onRow?: (row: BenchRow) => void;
  /** Stops after the call under way and rejects with `ABORTED`. */
  readonly signal?: AbortSignal;
}

const THETAS: Partial<Record<BenchLayer, string>> = {
  'low-rank': '(1|0|0|0|1|0|0.5)',
  kronecker: '(0.5|0.5|0|0.5|0.5|0|0)',
  generic: '(0.5|0.25|0.25|0.25|0.5|0.25|0)',
};

interface Work {
  readonly sizes: EinsumSizes;
  readonly k: number;
  forward(): Tensor;
  readonly leaves: readonly Tensor[];
}

function layerSizes(layer: BenchLayer, d: number): { sizes: EinsumSizes; k: number } {
  const moe = /^btt-moe-e(\d+)k(\d+)$/.exec(layer);
  if (moe !== null) return { sizes: planBTT(d, d, Number(moe[1])).sizes, k: Number(moe[2]) };
  const btt = /^btt-r(\d+)$/.exec(layer);
  if (btt !== null) return { sizes: planBTT(d, d, Number(btt[1])).sizes, k: 0 };
  const theta = parseTheta(THETAS[layer] ?? '(1|0|0|0|1|0|0)');
  return { sizes: planEinsum(theta, d, d).sizes, k: 0 };
}

function prepare(layer: BenchLayer, d: number, tokens: number, device: Device): Work {
  const { sizes, k } = layerSizes(layer, d);
  const leaf = (shape: number[]): Tensor => randn(shape, { device, requiresGrad: true });
  const x = leaf([tokens, d]);
  if (layer === 'dense') {
    const weight = leaf([d, d]);
    return { sizes, k, forward: () => linear(x, weight, null), leaves: [x, weight] };
  }
  const { alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  const a = leaf([phi, delta, rho, gamma, alpha]);
  const b = leaf([phi, epsilon, rho, gamma, beta]);
  if (k === 0) return { sizes, k, forward: () => einsum2(x, a, b, null, sizes), leaves: [x, a, b] };
  const gate = leaf([rho, d]);
  const forward = (): Tensor => {
    const route = moeRoute(linear(x, gate, null), k, { weightEpsilon: 1e-6 });
    return bttMoe(x, a, b, route, null, sizes);
  };
  return { sizes, k, forward, leaves: [x, a, b, gate] };
}

/** Milliseconds of one call, from the first enqueued op to the last one done. */
async function time(work: Work, pass: Pass, gradient: Tensor, device: Device): Promise<number> {
  await device.synchronize();
  const start = performance.now();
  tidy(() => {
    const y = work.forward();
    if (pass === 'forward+backward') y.backward(gradient);
  });
  await device.synchronize();
  const ms = performance.now() - start;
  for (const leaf of work.leaves) {
    leaf.grad?.dispose();
    leaf.grad = null;
  }
  return ms;
}

function summary(times: number[]): { median: number; range: [number, number] } {
  const sorted = [...times].sort((p, q) => p - q);
  const middle = sorted.length >> 1;
  const median =
    sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
  return { median, range: [sorted[0], sorted.at(-1)!] };
}

/** One row: a layer's pass, ours and the peer's call by call in turn. */
async function timeRow(
  layer: BenchLayer,
  d: number,
  pass: Pass,
  work: Work,
  gradient: Tensor,
  { device, tokens, repeats, peer, signal }: BenchOptions,
): Promise<BenchRow> {
  const ours: number[] = [];
  const theirs: number[] = [];
  for (let i = 0; i <= repeats; ++i) {
    if (signal?.aborted) {
      throw new EinlinearError('ABORTED', `Timing was interrupted at ${layer}, d = ${d}, ${pass}`, {
        layer,
        d,
        pass,
      });
    }
    const mine = await time(work, pass, gradient, device);
    const other = peer === null ? null : await peer.run(pass);
    if (i === 0) continue; // warm-up
    ours.push(mine);
    if (other !== null) theirs.push(other);
  }
  const own = summary(ours);
  const their = peer === null ? null : summary(theirs);
  return {
    layer,
    d,
    tokens,
    pass,
    dtype: 'float32',
    ours_ms: own.median,
    ours_range: own.range,
    peer: peer === null ? null : `${peer.name} ${peer.version}`,
    peer_ms: their?.median ?? null,
    peer_range: their?.range ?? null,
    ratio: their === null ? null : their.median / own.median,
  };
}

/**
 * Times single layers d → d, ours and a peer's call by call in turn, so that whatever else the
 * machine does meets both alike.
 *
 * @returns one row for every layer, width and pass
 * @throws INVALID_ARGUMENT for an unknown layer, before any is timed; ABORTED
 */
export async function benchLayers(options: BenchOptions): Promise<BenchRow[]> {
  const { device, tokens, peer, threads } = options;
  for (const layer of options.layers) {
    if (BENCH_LAYERS.includes(layer)) continue;
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected layers to be among ${BENCH_LAYERS.join(', ')}, got '${layer as string}'`,
      { layer },
    );
  }
  const rows: BenchRow[] = [];
  for (const d of options.widths) {
    for (const layer of options.layers) {
      const work = prepare(layer, d, tokens, device);
      const gradient = randn([tokens, d], { device });
      try {
        await peer?.prepare({ layer, sizes: work.sizes, tokens, k: work.k, threads });
        for (const pass of ['forward', 'forward+backward'] as const) {
          const row = await timeRow(layer, d, pass, work, gradient, options);
          rows.push(row);
          options.onRow?.(row);
        }
      } finally {
        for (const leaf of work.leaves) leaf.dispose();
        gradient.dispose();
      }
    }
  }
  return rows;
}
