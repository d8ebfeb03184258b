import { z } from 'zod';
import { EinlinearError } from '../../lib/errors';
import { efficientFrontier, fitPowerLaw } from '../../lib/search';
import { INDEX_NAMES, taxonomy, thetaFromArray } from '../../lib/structure';
import { isWorse } from './checker';

/** Exponents and fitted numbers are double-precision arithmetic on both sides. */
const TOLERANCE = 1e-8;

const taxonomyRow = z.object({
  name: z.string().optional(),
  theta: z.array(z.number()),
  redundant: z.boolean(),
  degenerate: z.boolean(),
  omega: z.number().optional(),
  psi: z.number().optional(),
  nu: z.number().optional(),
});

const historyPoint = z.object({
  run: z.number(),
  step: z.number(),
  compute: z.number(),
  loss: z.number(),
});

const fitRow = z.object({
  history: z.array(historyPoint),
  frontier: z.array(historyPoint),
  exponent: z.number(),
  intercept: z.number(),
  exponent_stderr: z.number(),
  intercept_stderr: z.number(),
});

/** Contents of `laws.json`: rows of the paper's own taxonomy functions, and scaling-law fits. */
export const lawsCase = z.object({
  theta_order: z.string(),
  taxonomy: z.array(taxonomyRow).min(1),
  fits: z.array(fitRow).min(1),
});

type TaxonomyRow = z.infer<typeof taxonomyRow>;
type HistoryPoint = z.infer<typeof historyPoint>;
type FitRow = z.infer<typeof fitRow>;
export type LawsCase = z.infer<typeof lawsCase>;

/**
 * Checks taxonomy and scaling-law fits against a laws file. Redundant rows must only be found redundant,
 * and degenerate rows may carry no exponents. `worstRelativeError` is over exponents (relative to at least one) and fitted numbers.
 */
export function checkLaws(laws: LawsCase): { worstRelativeError: number; failures: string[] } {
  const failures: string[] = [];
  let worstRelativeError = 0;
  const compare = (what: string, got: number, expected: number, scale: number): void => {
    const error = Math.abs(got - expected) / scale;
    if (isWorse(error, worstRelativeError)) worstRelativeError = error;
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
