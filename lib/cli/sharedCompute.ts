import type { LossPoint } from '../plot';

/** What runs can be compared at: the compute that all of them spent, and the loss that each had by then. */
export interface SharedCompute {
  macs: number;
  losses: number[];
}

/** Loss of a curve at a compute within it, along a straight line between two points on logarithmic axes. */
function lossAt(points: readonly LossPoint[], macs: number): number {
  const after = points.findIndex((point) => point.macs >= macs);
  if (after < 0) return points[points.length - 1]?.loss ?? NaN;
  const right = points[after];
  const left = points[after - 1];
  if (left === undefined || right.macs === macs) return right.loss;
  if (left.macs === 0) {
    // An untrained model has no place on a logarithmic axis.
    return left.loss + ((right.loss - left.loss) * macs) / right.macs;
  }
  const share = Math.log(macs / left.macs) / Math.log(right.macs / left.macs);
  return left.loss * (right.loss / left.loss) ** share;
}

/**
 * Compares runs of which some ended early: at the compute of the one that spent least.
 *
 * @param curves of each run, in the order of its compute, the last point its end
 */
export function sharedCompute(curves: readonly (readonly LossPoint[])[]): SharedCompute {
  const macs = Math.min(...curves.map((points) => points[points.length - 1]?.macs ?? 0));
  return { macs, losses: curves.map((points) => lossAt(points, macs)) };
}
