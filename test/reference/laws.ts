import { EinlinearError } from '../../lib/errors';
import { efficientFrontier, fitPowerLaw, type LawPoint } from '../../lib/search';
import { INDEX_NAMES, taxonomy, thetaFromArray } from '../../lib/structure';

/** Exponents and fitted numbers are double-precision arithmetic on both sides. */
const TOLERANCE = 1e-8;

interface TaxonomyRow {
  readonly name?: string;
  readonly theta: readonly number[];
  readonly redundant: boolean;
  readonly degenerate: boolean;
  readonly omega?: number;
  readonly psi?: number;
  readonly nu?: number;
}

interface HistoryPoint extends LawPoint {
  readonly run: number;
  readonly step: number;
}

interface FitRow {
  readonly history: readonly HistoryPoint[];
  readonly frontier: readonly HistoryPoint[];
  readonly exponent: number;
  readonly intercept: number;
  readonly exponent_stderr: number;
  readonly intercept_stderr: number;
}

/** Contents of `laws.json`: rows of the paper's own taxonomy functions, and scaling-law fits. */
export interface LawsCase {
  readonly theta_order: string;
  readonly taxonomy: readonly TaxonomyRow[];
  readonly fits: readonly FitRow[];
}

/**
 * Checks taxonomy and scaling-law fits against a laws file. Redundant rows must only be found redundant,
 * and degenerate rows may carry no exponents. `worstRelativeError` is over exponents (relative to at least one) and fitted numbers.
 */
export function checkLaws(laws: LawsCase): { worstRelativeError: number; failures: string[] } {
  const failures: string[] = [];
  let worstRelativeError = 0;
  const compare = (what: string, got: number, expected: number, scale: number): void => {
    const error = Math.abs(got - expected) / scale;
    // A NaN must count as a failure and be seen in the worst error.
    if (!(error <= worstRelativeError)) worstRelativeError = error;
    if (!(error <= TOLERANCE)) failures.push(`${what}: expected ${expected}, got ${got}`);
  };
  const order = INDEX_NAMES.join(',');
  if (laws.theta_order !== order) {
    failures.push(`theta_order: expected ${order}, got ${laws.theta_order}`);
  }
  laws.taxonomy.forEach((row, i) => {
    const name = `taxonomy ${row.name ?? i}`;
    try {
      checkTaxonomyRow(name, row);
    } catch (error) {
      if (!(error instanceof EinlinearError)) throw error;
      failures.push(`${name}: ${error.message}`);
    }
  });
  laws.fits.forEach((fit, i) => checkFit(`fit ${i}`, fit));
  return { worstRelativeError, failures };

  function checkTaxonomyRow(name: string, row: TaxonomyRow): void {
    const got = taxonomy(thetaFromArray(row.theta));
    if (got.redundant !== row.redundant) {
      failures.push(`${name}: expected redundant ${row.redundant}, got ${got.redundant}`);
    }
    if (row.redundant) return;
    if (got.degenerate !== row.degenerate) {
      failures.push(`${name}: expected degenerate ${row.degenerate}, got ${got.degenerate}`);
    }
    for (const key of ['omega', 'psi', 'nu'] as const) {
      if (row.degenerate && row[key] === undefined) continue;
      const expected = row[key] ?? NaN;
      compare(`${name} ${key}`, got[key], expected, Math.max(1, Math.abs(expected)));
    }
  }

  function checkFit(name: string, fit: FitRow): void {
    const frontier = efficientFrontier(fit.history);
    const key = ({ run, step, compute, loss }: HistoryPoint): string =>
      [run, step, compute, loss].join(' ');
    const got = new Set(frontier.map(key));
    const expected = new Set(fit.frontier.map(key));
    for (const point of expected) {
      if (!got.has(point)) failures.push(`${name} frontier: expected point ${point}, not found`);
    }
    for (const point of got) {
      if (!expected.has(point)) failures.push(`${name} frontier: point ${point} not expected`);
    }
    const law = fitPowerLaw(frontier);
    for (const [what, value, reference] of [
      ['exponent', law.exponent, fit.exponent],
      ['intercept', law.constant, fit.intercept],
      ['exponent_stderr', law.standardErrors.exponent, fit.exponent_stderr],
      ['intercept_stderr', law.standardErrors.constant, fit.intercept_stderr],
    ] as const) {
      compare(`${name} ${what}`, value, reference, Math.abs(reference));
    }
  }
}
