import { describe } from '../checks';
import { EinlinearError } from '../errors';
import { INDEX_NAMES, type IndexName, type Theta } from './types';

/** How far the input sum and the output sum of a θ may be from one (the paper's own tolerance). */
export const THETA_SUM_TOLERANCE = 0.01;

/** Room for binary fractions, so that a sum of exactly 0.99 in decimals counts as within 0.01. */
const ROUNDING_SLACK = 1e-9;

const INPUT_INDICES: readonly IndexName[] = ['alpha', 'beta', 'gamma'];
const OUTPUT_INDICES: readonly IndexName[] = ['delta', 'epsilon', 'phi'];

/**
 * Reads the paper's text form of θ, such as `(0.5|0|0.5|0|0.5|0.5|0)`: seven numbers in the order
 * α, β, γ, δ, ε, φ, ρ.
 *
 * @throws EinlinearError INVALID_THETA if the text is not seven numbers in [0, 1] whose input three
 *   and output three each sum to one within 0.01.
 */
export function parseTheta(text: string): Theta {
  const body = /^\s*\(([^()]*)\)\s*$/.exec(text)?.[1];
  if (body === undefined) {
    throw new EinlinearError(
      'INVALID_THETA',
      `Expected θ to be seven numbers such as (0.5|0|0.5|0|0.5|0.5|0), got '${text}'`,
      { theta: text },
    );
  }
  const fields = body.split('|').map((field) => field.trim());
  if (fields.length !== INDEX_NAMES.length) {
    throw new EinlinearError(
      'INVALID_THETA',
      `Expected θ to have 7 numbers (${INDEX_NAMES.join(', ')}), got ${fields.length} in '${text}'`,
      { theta: text, count: fields.length },
    );
  }
  const values = fields.map((field, i) => {
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(field)) {
      throw new EinlinearError(
        'INVALID_THETA',
        `Expected ${INDEX_NAMES[i]} in θ to be a number, got '${field}' in '${text}'`,
        { theta: text, index: INDEX_NAMES[i], value: field },
      );
    }
    return Number(field);
  });
  return thetaFromArray(values);
}

/**
 * Builds a θ from seven numbers in the order α, β, γ, δ, ε, φ, ρ.
 *
 * @throws EinlinearError INVALID_THETA as `parseTheta` does.
 */
export function thetaFromArray(values: readonly number[]): Theta {
  if (values.length !== INDEX_NAMES.length) {
    throw new EinlinearError(
      'INVALID_THETA',
      `Expected θ to have 7 numbers (${INDEX_NAMES.join(', ')}), got ${values.length}`,
      { theta: values, count: values.length },
    );
  }
  const entries = INDEX_NAMES.map((name, i) => [name, values[i]]);
  return validateTheta(Object.fromEntries(entries) as Theta);
}

/** The seven exponents in the order α, β, γ, δ, ε, φ, ρ. */
export function thetaToArray(theta: Theta): number[] {
  return INDEX_NAMES.map((name) => theta[name]);
}

/** Writes θ in the paper's text form; `parseTheta` gives the same numbers back. */
export function formatTheta(theta: Theta): string {
  return `(${thetaToArray(theta).join('|')})`;
}

/**
 * Returns θ if it is a point of the space.
 *
 * @throws EinlinearError INVALID_THETA if a value is not a number in [0, 1], or if α+β+γ or δ+ε+φ is
 *   further than 0.01 from one.
 */
export function validateTheta(theta: Theta): Theta {
  if (typeof theta !== 'object' || theta === null) {
    throw new EinlinearError(
      'INVALID_THETA',
      `Expected θ to be an object of seven exponents, got ${describe(theta)}`,
      { theta },
    );
  }
  for (const name of INDEX_NAMES) {
    const value: unknown = theta[name];
    if (typeof value !== 'number' || !(value >= 0 && value <= 1)) {
      throw new EinlinearError(
        'INVALID_THETA',
        `Expected ${name} in θ to be a number from 0 to 1, got ${String(value)}`,
        { theta, index: name, value },
      );
    }
  }
  for (const names of [INPUT_INDICES, OUTPUT_INDICES]) {
    const sum = names.reduce((total, name) => total + theta[name], 0);
    if (Math.abs(sum - 1) > THETA_SUM_TOLERANCE + ROUNDING_SLACK) {
      throw new EinlinearError(
        'INVALID_THETA',
        `Expected ${names.join(' + ')} in θ to be 1 (within ${THETA_SUM_TOLERANCE}), ` +
          `got ${Number(sum.toFixed(6))} in ${formatTheta(theta)}`,
        { theta, indices: names, sum },
      );
    }
  }
  return theta;
}

/** The mirror image of θ, the same operators with the two factors exchanged: α↔β and δ↔ε. */
export function mirrorTheta(theta: Theta): Theta {
  return {
    alpha: theta.beta,
    beta: theta.alpha,
    gamma: theta.gamma,
    delta: theta.epsilon,
    epsilon: theta.delta,
    phi: theta.phi,
    rho: theta.rho,
  };
}
