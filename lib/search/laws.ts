import { EinlinearError } from '../errors';

/** One evaluation of one run: what had been spent by then, and the loss reached. */
export interface LawPoint {
  /** Compute spent on training, in any one unit (the paper: forward MACs). */
  readonly compute: number;
  /** Loss at that moment. */
  readonly loss: number;
}

/** loss = irreducibleLoss + e^constant · compute^−exponent. */
export interface ScalingLaw {
  /** What no compute removes; zero for a pure power law. */
  readonly irreducibleLoss: number;
  /** Natural logarithm of the coefficient. */
  readonly constant: number;
  /** How fast compute buys loss; positive for a law that falls. */
  readonly exponent: number;
}

/** A law with how well the points determine it. */
export interface ScalingLawFit extends ScalingLaw {
  /** Standard errors of the three numbers; NaN where the points cannot tell, 0 where a number is not fitted. */
  readonly standardErrors: {
    readonly irreducibleLoss: number;
    readonly constant: number;
    readonly exponent: number;
  };
  /** Points used. */
  readonly points: number;
}

/** How far above the hull, relative to its loss, a point still counts as efficient. */
export const FRONTIER_TOLERANCE = 0.02;

/**
 * The efficient frontier of all runs of one structure: the points of the lower-left convex hull in log–log
 * space and all within `tolerance` above it, by ascending compute, without those whose loss does not fall
 * against the point before (the first stays).
 *
 * As in the paper's own fits, the hull is closed by a corner at e times the largest compute and e times the
 * largest loss, so that a run that gets worse at its end does not pull the frontier up. Points whose loss is
 * not finite (a run that diverged) are left out.
 *
 * @throws EinlinearError INVALID_ARGUMENT for a compute that is not positive and finite, or a loss of zero
 *   or less, which have no logarithm.
 */
export function efficientFrontier<P extends LawPoint>(
  points: readonly P[],
  options: { tolerance?: number } = {},
): P[] {
  const { tolerance = FRONTIER_TOLERANCE } = options;
  const candidates = logPoints(points).sort(
    (p, q) => byCompute(p, q) || p.point.loss - q.point.loss,
  );
  if (candidates.length === 0) return [];
  const hull = lowerLeftHull(candidates);
  const onHull = new Set(hull);
  const near = candidates
    .filter((p) => onHull.has(p) || Math.expm1(p.y - interpolate(hull, p.x)) <= tolerance)
    .sort((p, q) => byCompute(p, q) || Number(onHull.has(q)) - Number(onHull.has(p)));
  return near
    .filter((p, i) => i === 0 || p.point.loss < near[i - 1].point.loss)
    .map(({ point }) => point);
}

/**
 * Fits loss = e^constant · compute^−exponent by least squares on natural logarithms, with the standard
 * errors of linear regression.
 *
 * @throws EinlinearError INVALID_ARGUMENT for fewer than two different computes, or values without logarithm.
 */
export function fitPowerLaw(points: readonly LawPoint[]): ScalingLawFit {
  const logs = logPoints(points);
  requireDistinct(logs, 2);
  const n = logs.length;
  const meanX = logs.reduce((sum, { x }) => sum + x, 0) / n;
  const meanY = logs.reduce((sum, { y }) => sum + y, 0) / n;
  let sxx = 0;
  let sxy = 0;
  for (const { x, y } of logs) {
    sxx += (x - meanX) ** 2;
    sxy += (x - meanX) * (y - meanY);
  }
  const slope = sxy / sxx;
  let squares = 0;
  for (const { x, y } of logs) squares += (y - meanY - slope * (x - meanX)) ** 2;
  const exponentError = n > 2 ? Math.sqrt(squares / (n - 2) / sxx) : NaN;
  return {
    irreducibleLoss: 0,
    constant: meanY - slope * meanX,
    exponent: -slope,
    standardErrors: {
      irreducibleLoss: 0,
      constant: exponentError * Math.sqrt(sxx / n + meanX ** 2),
      exponent: exponentError,
    },
    points: n,
  };
}

/** Exponents among which the search for the best one starts. */
const EXPONENT_GRID = Array.from({ length: 121 }, (_, i) => 10 ** (-3 + i / 30));

/**
 * Fits loss = a + b·compute^−c by least squares on the loss, with a ≥ 0. For each c the best a and b follow
 * from linear regression, so the search is over c alone and has no starting point to choose. Standard errors
 * come from the Jacobian at the optimum; with a = 0 forced by its bound they are those of the other two.
 *
 * @throws EinlinearError INVALID_ARGUMENT for fewer than three different computes, values without
 *   logarithm, or losses that do not fall with compute.
 */
export function fitPowerLawWithOffset(points: readonly LawPoint[]): ScalingLawFit {
  const logs = logPoints(points);
  requireDistinct(logs, 3);
  const n = logs.length;
  // Computes span many decades: the geometric mean as unit keeps compute^−c near one.
  const centre = logs.reduce((sum, { x }) => sum + x, 0) / n;
  const xs = logs.map(({ x }) => x - centre);
  const losses = logs.map(({ point }) => point.loss);
  const squares = (c: number): number => offsetRegression(xs, losses, c).squares;
  let best = 0;
  EXPONENT_GRID.forEach((c, i) => {
    if (squares(c) < squares(EXPONENT_GRID[best])) best = i;
  });
  const low = EXPONENT_GRID[Math.max(0, best - 1)];
  const high = EXPONENT_GRID[Math.min(EXPONENT_GRID.length - 1, best + 1)];
  const exponent = minimize(squares, low, high);
  const { a, b } = offsetRegression(xs, losses, exponent);
  if (!(b > 0)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      'Expected losses to fall with compute, got a rise',
      {
        points: n,
        slope: -b,
      },
    );
  }
  const jacobian = xs.map((x) => {
    const basis = Math.exp(-exponent * x);
    const rest = [basis, -b * x * basis];
    return a > 0 ? [1, ...rest] : rest;
  });
  const free = a > 0 ? 3 : 2;
  const variance = n > free ? squares(exponent) / (n - free) : NaN;
  const covariance = inverseGram(jacobian).map((row) => row.map((value) => value * variance));
  const [ib, ic] = a > 0 ? [1, 2] : [0, 1];
  // constant = ln b + c·centre
  const constantVariance =
    covariance[ib][ib] / b ** 2 +
    covariance[ic][ic] * centre ** 2 +
    (2 * centre * covariance[ib][ic]) / b;
  return {
    irreducibleLoss: a,
    constant: Math.log(b) + exponent * centre,
    exponent,
    standardErrors: {
      irreducibleLoss: a > 0 ? Math.sqrt(covariance[0][0]) : 0,
      constant: Math.sqrt(constantVariance),
      exponent: Math.sqrt(covariance[ic][ic]),
    },
    points: n,
  };
}

/** The loss a law expects after some compute. */
export function lossAt(law: ScalingLaw, compute: number): number {
  return law.irreducibleLoss + Math.exp(law.constant - law.exponent * Math.log(compute));
}

/** The compute a law needs for a loss; Infinity where no compute is enough. */
export function computeFor(law: ScalingLaw, loss: number): number {
  const reducible = loss - law.irreducibleLoss;
  if (!(reducible > 0)) return Infinity;
  return Math.exp((law.constant - Math.log(reducible)) / law.exponent);
}

/**
 * How many times the compute `other` needs to reach the loss that `reference` has after `compute`: above one
 * where the reference is the more efficient, Infinity where `other` never gets there.
 */
export function computeMultiplier(
  reference: ScalingLaw,
  other: ScalingLaw,
  compute: number,
): number {
  return computeFor(other, lossAt(reference, compute)) / compute;
}

interface LogPoint<P extends LawPoint = LawPoint> {
  readonly point: P;
  readonly x: number;
  readonly y: number;
}

function logPoints<P extends LawPoint>(points: readonly P[]): LogPoint<P>[] {
  return points
    .filter(({ loss }) => Number.isFinite(loss))
    .map((point) => {
      const { compute, loss } = point;
      if (!(compute > 0 && compute < Infinity)) {
        throw new EinlinearError(
          'INVALID_ARGUMENT',
          `Expected compute to be positive and finite, got ${compute}`,
          { compute, loss },
        );
      }
      if (!(loss > 0)) {
        throw new EinlinearError(
          'INVALID_ARGUMENT',
          `Expected loss to be positive, got ${loss} at compute ${compute}`,
          { compute, loss },
        );
      }
      return { point, x: Math.log(compute), y: Math.log(loss) };
    });
}

// By the values themselves: neighbouring computes and losses can share a logarithm.
const byCompute = (p: LogPoint, q: LogPoint): number => p.point.compute - q.point.compute;

function requireDistinct(logs: readonly LogPoint[], count: number): void {
  const distinct = new Set(logs.map(({ x }) => x)).size;
  if (distinct < count) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected points at ${count} or more different computes to fit a law, got ${distinct}`,
      { points: logs.length, distinct, expected: count },
    );
  }
}

/** Lower convex hull of points sorted by x, then y, up to where the closing corner is seen. */
function lowerLeftHull<P extends LawPoint>(sorted: readonly LogPoint<P>[]): LogPoint<P>[] {
  const hull: LogPoint<P>[] = [];
  const highest = sorted.reduce((top, { y }) => Math.max(top, y), -Infinity);
  const corner = { x: sorted.at(-1)!.x + 1, y: highest + 1 };
  const dropHidden = (x: number, y: number): void => {
    while (hull.length >= 2) {
      const [o, p] = [hull.at(-2)!, hull.at(-1)!];
      if ((p.x - o.x) * (y - o.y) - (p.y - o.y) * (x - o.x) > 0) return;
      hull.pop();
    }
  };
  for (const point of sorted) {
    dropHidden(point.x, point.y);
    hull.push(point);
  }
  dropHidden(corner.x, corner.y);
  return hull;
}

/** Piecewise linear through the hull, constant beyond its ends. */
function interpolate(hull: readonly LogPoint[], x: number): number {
  const right = hull.findIndex((p) => p.x >= x);
  if (right === -1) return hull.at(-1)!.y;
  const q = hull[right];
  if (right === 0 || q.x === x) return q.y;
  const p = hull[right - 1];
  return p.y + ((q.y - p.y) * (x - p.x)) / (q.x - p.x);
}

/** Best a ≥ 0 and b of loss = a + b·e^(−c·x), and the squares that remain. */
function offsetRegression(
  xs: readonly number[],
  losses: readonly number[],
  c: number,
): { a: number; b: number; squares: number } {
  const n = xs.length;
  const basis = xs.map((x) => Math.exp(-c * x));
  const meanBasis = basis.reduce((sum, v) => sum + v, 0) / n;
  const meanLoss = losses.reduce((sum, v) => sum + v, 0) / n;
  let squaresBasis = 0;
  let product = 0;
  for (let i = 0; i < n; ++i) {
    squaresBasis += (basis[i] - meanBasis) ** 2;
    product += (basis[i] - meanBasis) * (losses[i] - meanLoss);
  }
  let b = product / squaresBasis;
  let a = meanLoss - b * meanBasis;
  if (a < 0) {
    a = 0;
    b =
      basis.reduce((sum, v, i) => sum + v * losses[i], 0) /
      basis.reduce((sum, v) => sum + v * v, 0);
  }
  const squares = basis.reduce((sum, v, i) => sum + (losses[i] - a - b * v) ** 2, 0);
  return { a, b, squares };
}

/** Golden-section search for the minimum of a function with one minimum between low and high. */
function minimize(f: (x: number) => number, low: number, high: number): number {
  const ratio = (Math.sqrt(5) - 1) / 2;
  let [left, right] = [low, high];
  let [p, q] = [right - ratio * (right - left), left + ratio * (right - left)];
  let [fp, fq] = [f(p), f(q)];
  while (right - left > 1e-12 * right) {
    if (fp <= fq) {
      [right, q, fq] = [q, p, fp];
      p = right - ratio * (right - left);
      fp = f(p);
    } else {
      [left, p, fp] = [p, q, fq];
      q = left + ratio * (right - left);
      fq = f(q);
    }
    if (p >= q) break; // the interval is down to the last bits
  }
  return (left + right) / 2;
}

/** (JᵀJ)⁻¹ by Gauss–Jordan elimination with pivoting. */
function inverseGram(jacobian: readonly (readonly number[])[]): number[][] {
  const size = jacobian[0].length;
  const rows = Array.from({ length: size }, (_, i) => [
    ...Array.from({ length: size }, (_, j) =>
      jacobian.reduce((sum, row) => sum + row[i] * row[j], 0),
    ),
    ...Array.from({ length: size }, (_, j) => (i === j ? 1 : 0)),
  ]);
  for (let column = 0; column < size; ++column) {
    let pivot = column;
    for (let i = column + 1; i < size; ++i) {
      if (Math.abs(rows[i][column]) > Math.abs(rows[pivot][column])) pivot = i;
    }
    [rows[column], rows[pivot]] = [rows[pivot], rows[column]];
    const scale = rows[column][column];
    rows[column] = rows[column].map((value) => value / scale);
    for (let i = 0; i < size; ++i) {
      if (i === column) continue;
      const factor = rows[i][column];
      rows[i] = rows[i].map((value, j) => value - factor * rows[column][j]);
    }
  }
  return rows.map((row) => row.slice(size));
}
