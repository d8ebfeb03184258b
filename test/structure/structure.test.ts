import * as fc from 'fast-check';

import {
  STRUCTURE_NAMES,
  finiteTaxonomy,
  formatStructure,
  formatTheta,
  parseStructure,
  planStructure,
  thetaOfStructure,
  validateStructure,
  type EinsumPlan,
  type Structure,
} from '../../lib/structure';
import { thetas, widths } from './arbitraries';
import { codeOf, wrong } from '../support/errors';

const einsum = (text: string, dIn: number, dOut: number): EinsumPlan => {
  const plan = planStructure(parseStructure(text), dIn, dOut);
  if (plan.kind !== 'einsum') throw new Error(`expected an einsum plan, got ${plan.kind}`);
  return plan;
};

const size = fc.integer({ min: 1, max: 16 });
const mixture = fc
  .tuple(size, size)
  .map(([a, b]) => ({ experts: Math.max(a, b), k: Math.min(a, b) }));
const common = fc.record({
  normalize: fc.boolean(),
  rounding: fc.constantFrom('divisors' as const, 'paper' as const),
});
const structures: fc.Arbitrary<Structure> = fc.oneof(
  fc.constant({ kind: 'dense' } as const),
  fc
    .tuple(thetas, common)
    .filter(([theta]) => formatTheta(theta) !== '(1|0|0|0|1|0|1)')
    .map(([theta, rest]) => ({ kind: 'einsum', theta, ...rest }) as const),
  fc
    .tuple(size, common, fc.boolean())
    .map(
      ([rank, rest, gains]) =>
        ({ kind: 'btt', rank, ...rest, gains: gains && rest.normalize }) as const,
    ),
  common.map((rest) => ({ kind: 'monarch', ...rest }) as const),
  common.map((rest) => ({ kind: 'kronecker', ...rest }) as const),
  fc.boolean().map((normalize) => ({ kind: 'low-rank', normalize }) as const),
  size.map((rank) => ({ kind: 'low-rank', rank, normalize: true }) as const),
  size.map((n) => ({ kind: 'low-rank', fraction: n / 16, normalize: false }) as const),
  fc.tuple(size, common).map(([rank, rest]) => ({ kind: 'tensor-train', rank, ...rest }) as const),
  fc.tuple(mixture, common).map(([m, rest]) => ({ kind: 'btt-moe', ...m, ...rest }) as const),
  mixture.map((m) => ({ kind: 'dense-moe', ...m }) as const),
  mixture.map((m) => ({ kind: 'moe', ...m }) as const),
  fc
    .tuple(mixture, size)
    .map(([m, rank]) => ({ kind: 'low-rank-moe', ...m, rank, normalize: true }) as const),
);

describe('parseStructure', () => {
  it.each<[string, Structure]>([
    ['dense', { kind: 'dense' }],
    ['(1|0|0|0|1|0|1)', { kind: 'dense' }],
    ['btt', { kind: 'btt', rank: 1, normalize: true, gains: true, rounding: 'divisors' }],
    [
      'btt:rank=4,rounding=paper,normalize=false',
      { kind: 'btt', rank: 4, normalize: false, gains: false, rounding: 'paper' },
    ],
    ['monarch', { kind: 'monarch', normalize: true, rounding: 'divisors' }],
    ['low-rank:rank=32', { kind: 'low-rank', rank: 32, normalize: true }],
    ['low-rank:fraction=0.25', { kind: 'low-rank', fraction: 0.25, normalize: true }],
    ['kronecker', { kind: 'kronecker', normalize: true, rounding: 'divisors' }],
    [
      'tensor-train:rank=8',
      { kind: 'tensor-train', rank: 8, normalize: true, rounding: 'divisors' },
    ],
    [
      ' btt-moe: experts = 16 , k=1 ',
      { kind: 'btt-moe', experts: 16, k: 1, normalize: true, rounding: 'divisors' },
    ],
    ['moe:experts=8,k=2', { kind: 'moe', experts: 8, k: 2 }],
    ['dense-moe', { kind: 'dense-moe', experts: 8, k: 2 }],
    ['low-rank-moe:experts=4', { kind: 'low-rank-moe', experts: 4, k: 2, normalize: true }],
    [
      '(0.5|0|0.5|0|0.5|0.5|0):rounding=paper,normalize=false',
      {
        kind: 'einsum',
        theta: { alpha: 0.5, beta: 0, gamma: 0.5, delta: 0, epsilon: 0.5, phi: 0.5, rho: 0 },
        normalize: false,
        rounding: 'paper',
      },
    ],
  ])('reads %s', (text, structure) => expect(parseStructure(text)).toEqual(structure));

  it('gives back what formatStructure writes', () => {
    fc.assert(
      fc.property(structures, (structure) => {
        expect(parseStructure(formatStructure(structure))).toEqual(structure);
      }),
    );
    for (const name of STRUCTURE_NAMES) expect(formatStructure(parseStructure(name))).toBe(name);
  });

  it.each([
    ['', 'INVALID_ARGUMENT', "got ''"],
    ['bt', 'INVALID_ARGUMENT', 'one of dense, btt, monarch'],
    ['einsum', 'INVALID_ARGUMENT', 'one of dense'],
    ['btt:', 'INVALID_ARGUMENT', 'rank=…, normalize=…'],
    ['btt:rank', 'INVALID_ARGUMENT', "got 'rank'"],
    ['btt:rank=', 'INVALID_ARGUMENT', "got 'rank='"],
    ['btt:rank=0', 'INVALID_ARGUMENT', 'rank to be a positive integer, got 0'],
    ['btt:rank=1.5', 'INVALID_ARGUMENT', 'got 1.5'],
    ['btt:rank=two', 'INVALID_ARGUMENT', "a number, got 'two'"],
    ['btt:rank=1,rank=2', 'INVALID_ARGUMENT', 'rank once'],
    ['btt:experts=2', 'INVALID_ARGUMENT', "got 'experts=2'"],
    ['btt:normalize=no', 'INVALID_ARGUMENT', "true or false, got 'no'"],
    ['btt:normalize=false,gains=true', 'INVALID_ARGUMENT', 'gains=false with normalize=false'],
    ['btt:rounding=up', 'INVALID_ARGUMENT', "divisors or paper, got 'up'"],
    ['dense:rank=1', 'INVALID_ARGUMENT', 'Expected no options for structure dense'],
    ['low-rank:rank=2,fraction=0.5', 'INVALID_ARGUMENT', 'either rank or fraction'],
    ['low-rank:fraction=0', 'INVALID_ARGUMENT', 'more than 0 and at most 1, got 0'],
    ['btt-moe:experts=4,k=5', 'OUT_OF_RANGE', 'k to be at most 4 (the number of experts), got 5'],
    ['moe:k=0', 'INVALID_ARGUMENT', 'k to be a positive integer, got 0'],
    ['(0.5|0|0.5|0|0.5|0.5|0):rank=2', 'INVALID_ARGUMENT', "for structure θ, got 'rank=2'"],
    ['(0.5|0|0.5|0|0.5|0.6|0)', 'INVALID_THETA', '1.1'],
  ])('refuses %j', (text, code, words) => {
    expect(() => parseStructure(text)).toThrow(
      expect.objectContaining({ code, message: expect.stringContaining(words) }) as Error,
    );
  });

  it('checks structures made by hand', () => {
    expect(() => validateStructure({ kind: 'moe', experts: 2, k: 3 })).toThrow('at most 2');
    const monarch = { kind: 'monarch', normalize: true, rounding: 'divisors' } as const;
    expect(validateStructure(monarch)).toBe(monarch);
    for (const [wrongly, name] of [
      [{ rounding: 'divisor' }, 'rounding'],
      [{ normalize: 'false' }, 'normalize'],
    ] as const) {
      expect(() => validateStructure(wrong({ ...monarch, ...wrongly }))).toThrow(
        expect.objectContaining({
          code: 'INVALID_ARGUMENT',
          message: expect.stringContaining(`Expected ${name} to be`),
        }) as Error,
      );
    }
    expect(codeOf(() => validateStructure(wrong({ kind: 'einsum' })))).toBe('INVALID_THETA');
  });
});

describe('planStructure', () => {
  it('plans dense as one product', () => {
    expect(planStructure({ kind: 'dense' }, 64, 256)).toEqual({
      kind: 'dense',
      dIn: 64,
      dOut: 256,
      weight: { fanIn: 64, fanOut: 256, initStd: 1 / 8, adamMultiplier: 1, sgdMultiplier: 1 },
      macsPerToken: 64 * 256,
      parameters: 64 * 256,
    });
    expect(planStructure(parseStructure('moe'), 64, 256).kind).toBe('dense');
  });

  it('chooses ranks', () => {
    expect(einsum('low-rank', 1000, 64).sizes).toMatchObject({ alpha: 1000, epsilon: 64, rho: 8 });
    expect(einsum('low-rank', 100, 70).sizes.rho).toBe(9);
    expect(einsum('low-rank:rank=5', 100, 70).sizes.rho).toBe(5);
    expect(einsum('low-rank:fraction=0.07', 100, 100).sizes.rho).toBe(7);
    expect(einsum('low-rank:fraction=0.071', 100, 100).sizes.rho).toBe(8);
    expect(einsum('tensor-train', 256, 256).sizes).toMatchObject({ alpha: 16, beta: 16, rho: 4 });
    expect(einsum('tensor-train:rank=7', 256, 256).sizes.rho).toBe(7);
    expect(einsum('btt:rank=4', 768, 160).sizes).toMatchObject({ alpha: 24, phi: 10, rho: 4 });
    expect(einsum('btt:rank=4,rounding=paper', 768, 160).sizes).toMatchObject({
      alpha: 16,
      phi: 8,
    });
  });

  it('lets Monarch be a BTT of rank one', () => {
    expect(einsum('monarch', 768, 3072).sizes).toEqual(einsum('btt', 768, 3072).sizes);
  });

  it('counts mixtures at their active share', () => {
    const dense = planStructure(parseStructure('dense-moe:experts=4,k=3'), 10, 20);
    expect(dense.macsPerToken).toBe(3 * 200 + 40);
    expect(dense.parameters).toBe(4 * 200 + 40);

    const low = planStructure(parseStructure('low-rank-moe:experts=3,k=1'), 10, 20);
    if (low.kind !== 'low-rank-moe' || low.expert.kind !== 'einsum') throw new Error(low.kind);
    expect(low.expert.sizes.rho).toBe(4); // ⌈10 / 3⌉
    expect(low.macsPerToken).toBe(4 * 30 + 30);
    expect(low.parameters).toBe(3 * 4 * 30 + 30);

    const btt = planStructure(parseStructure('btt-moe:experts=8,k=2'), 96, 160);
    if (btt.kind !== 'btt-moe') throw new Error(btt.kind);
    const full = planStructure(parseStructure('btt:rank=8'), 96, 160);
    expect(btt.macsPerToken).toBe(full.macsPerToken / 4 + 96 * 8);
    expect(btt.parameters).toBe(full.parameters + 96 * 8);
    expect(btt.einsum.a).toEqual(einsum('btt', 96, 160).a);
  });

  it('works at any width, and counts as its sizes do', () => {
    fc.assert(
      fc.property(structures, widths, widths, (structure, dIn, dOut) => {
        const exact =
          'rounding' in structure ? { ...structure, rounding: 'divisors' as const } : structure;
        const plan = planStructure(exact, dIn, dOut);
        expect(Number.isSafeInteger(plan.macsPerToken)).toBe(true);
        expect(plan.parameters).toBeGreaterThan(0);
        if (plan.kind === 'einsum') {
          const { macs, parameters } = finiteTaxonomy(plan.sizes);
          expect(plan).toMatchObject({ macsPerToken: macs, parameters });
        }
      }),
    );
  });

  it('refuses widths that are not positive integers', () => {
    for (const name of STRUCTURE_NAMES) {
      expect(() => planStructure(parseStructure(name), 0, 4)).toThrow(
        'dIn to be a positive integer',
      );
      expect(() => planStructure(parseStructure(name), 4, 1.5)).toThrow('dOut to be a positive');
    }
  });
});

describe('thetaOfStructure', () => {
  it.each([
    ['dense', '(1|0|0|0|1|0|1)'],
    ['btt:rank=4', '(0.5|0|0.5|0|0.5|0.5|0.25)'],
    ['btt-moe', '(0.5|0|0.5|0|0.5|0.5|0)'],
    ['low-rank', '(1|0|0|0|1|0|0.5)'],
    ['low-rank:fraction=0.25', '(1|0|0|0|1|0|0.75)'],
    ['kronecker', '(0.5|0.5|0|0.5|0.5|0|0)'],
    ['monarch', '(0.5|0|0.5|0|0.5|0.5|0)'],
    ['tensor-train', '(0.5|0.5|0|0.5|0.5|0|0.25)'],
    ['(0.4|0|0.6|0|0.5|0.5|0)', '(0.4|0|0.6|0|0.5|0.5|0)'],
  ])('of %s at width 256', (text, theta) => {
    expect(formatTheta(thetaOfStructure(parseStructure(text), 256, 512))).toBe(theta);
  });
});
