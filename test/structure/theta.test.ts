import * as fc from 'fast-check';

import {
  formatTheta,
  mirrorTheta,
  planEinsum,
  parseTheta,
  thetaFromArray,
  thetaToArray,
  validateTheta,
} from '../../lib/structure';
import { codeOf, wrong } from '../support/errors';
import { thetas } from './arbitraries';

const invalid = (code: string, ...words: string[]): unknown =>
  expect.objectContaining({
    code,
    message: expect.stringMatching(new RegExp(words.map((word) => `(?=.*${word})`).join(''))),
  });

describe('parseTheta', () => {
  it("reads the paper's form in the order α, β, γ, δ, ε, φ, ρ", () => {
    expect(parseTheta('(0.5|0|0.5|0.1|0.4|.5|0.25)')).toEqual({
      alpha: 0.5,
      beta: 0,
      gamma: 0.5,
      delta: 0.1,
      epsilon: 0.4,
      phi: 0.5,
      rho: 0.25,
    });
    expect(parseTheta(' ( 1 | 0|0 |0|1|0|1e-1) ').rho).toBe(0.1);
  });

  it('gives back what formatTheta writes', () => {
    fc.assert(
      fc.property(thetas, (theta) => {
        expect(parseTheta(formatTheta(theta))).toEqual(theta);
        expect(thetaFromArray(thetaToArray(theta))).toEqual(theta);
      }),
    );
    expect(formatTheta(parseTheta('(0.50|0|0.5|0|0.5|0.5|0)'))).toBe('(0.5|0|0.5|0|0.5|0.5|0)');
  });

  it('accepts sums within 0.01 of one', () => {
    for (const text of ['(0.33|0.33|0.33|0|1|0|0)', '(0.34|0.34|0.33|0|1|0|0)']) {
      expect(parseTheta(text).alpha).toBeGreaterThan(0.3);
    }
  });

  it.each([
    ['0.5|0|0.5|0|0.5|0.5|0', ['seven numbers', "'0.5\\|0"]],
    ['(0.5|0|0.5|0|0.5|0.5)', ['7 numbers', 'got 6']],
    ['(0.5|0|0.5|0|0.5|0.5|0|0)', ['7 numbers', 'got 8']],
    ['()', ['got 1']],
    ['(a|0|0.5|0|0.5|0.5|0)', ['alpha', 'number', "'a'"]],
    ['(0.5||0.5|0|0.5|0.5|0)', ['beta', "''"]],
    ['(0.5|0|0.5|0|0.5|0.5|NaN)', ['rho', "'NaN'"]],
    ['(0.5|0|0.5|0|0.5|0.5|Infinity)', ['rho', "'Infinity'"]],
    ['(0x1|0|0|0|0.5|0.5|0)', ['alpha', "'0x1'"]],
    ['(1.5|0|-0.5|0|0.5|0.5|0)', ['alpha', '0 to 1', '1.5']],
    ['(0.5|0|0.5|0|0.5|0.5|-0.1)', ['rho', '0 to 1', '-0.1']],
    ['(0.5|0|0.4|0|0.5|0.5|0)', ['alpha \\+ beta \\+ gamma', '0.9']],
    ['(0.5|0|0.5|0.2|0.5|0.5|0)', ['delta \\+ epsilon \\+ phi', '1.2']],
    ['(0.5|0|0.489|0|0.5|0.5|0)', ['0.989']],
  ])('refuses %s', (text, words) => {
    expect(() => parseTheta(text)).toThrow(invalid('INVALID_THETA', ...words) as Error);
  });

  it('refuses arrays of the wrong length', () => {
    expect(() => thetaFromArray([1, 0, 0])).toThrow('7 numbers');
    expect(() => thetaFromArray([0.5, 0, 0.5, 0, 0.5, 0.5, NaN])).toThrow('got NaN');
  });

  it.each([null, undefined, 5])('refuses %j', (value) => {
    expect(codeOf(() => validateTheta(wrong(value)))).toBe('INVALID_THETA');
    expect(codeOf(() => planEinsum(wrong(value), 8, 8))).toBe('INVALID_THETA');
  });
});

describe('mirrorTheta', () => {
  it('is its own inverse', () => {
    fc.assert(
      fc.property(thetas, (theta) => expect(mirrorTheta(mirrorTheta(theta))).toEqual(theta)),
    );
  });
});
