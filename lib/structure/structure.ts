import { requireBooleans, requireOneOf } from '../checks';
import { EinlinearError } from '../errors';
import { positiveInteger } from './integers';
import { formatTheta, parseTheta, thetaToArray, validateTheta } from './theta';
import { ROUNDINGS, type Rounding, type Theta } from './types';

/**
 * What one string in a configuration stands for. `normalize` is weight normalisation, `gains` the learned
 * scalar on each normalised factor, `rounding` how sizes come from widths.
 */
export type Structure =
  | { readonly kind: 'dense' }
  | {
      readonly kind: 'einsum';
      readonly theta: Theta;
      readonly normalize: boolean;
      readonly rounding: Rounding;
    }
  | {
      readonly kind: 'btt';
      readonly rank: number;
      readonly normalize: boolean;
      readonly gains: boolean;
      readonly rounding: Rounding;
    }
  | { readonly kind: 'monarch'; readonly normalize: boolean; readonly rounding: Rounding }
  /** Rank as given, or ⌈fraction · min(dIn, dOut)⌉, or ⌈√min(dIn, dOut)⌉ if neither is. */
  | {
      readonly kind: 'low-rank';
      readonly rank?: number;
      readonly fraction?: number;
      readonly normalize: boolean;
    }
  | { readonly kind: 'kronecker'; readonly normalize: boolean; readonly rounding: Rounding }
  /** Two cores, the widths split evenly; rank as given, or min(dIn, dOut)^¼ rounded. */
  | {
      readonly kind: 'tensor-train';
      readonly rank?: number;
      readonly normalize: boolean;
      readonly rounding: Rounding;
    }
  /** A BTT of rank `experts` of which each token uses k slices; gains go with `normalize`. */
  | {
      readonly kind: 'btt-moe';
      readonly experts: number;
      readonly k: number;
      readonly normalize: boolean;
      readonly rounding: Rounding;
    }
  | { readonly kind: 'dense-moe'; readonly experts: number; readonly k: number }
  /** Rank as given, or ⌈min(dIn, dOut) / experts⌉. */
  | {
      readonly kind: 'low-rank-moe';
      readonly experts: number;
      readonly k: number;
      readonly rank?: number;
      readonly normalize: boolean;
    }
  /** Standard sparse mixture over whole feed-forward blocks; every other layer is dense. */
  | { readonly kind: 'moe'; readonly experts: number; readonly k: number };

type Kind = Structure['kind'];
type OptionName = 'rank' | 'fraction' | 'experts' | 'k' | 'normalize' | 'gains' | 'rounding';

const OPTIONS: Readonly<Record<Kind, readonly OptionName[]>> = {
  dense: [],
  einsum: ['normalize', 'rounding'],
  btt: ['rank', 'normalize', 'gains', 'rounding'],
  monarch: ['normalize', 'rounding'],
  'low-rank': ['rank', 'fraction', 'normalize'],
  kronecker: ['normalize', 'rounding'],
  'tensor-train': ['rank', 'normalize', 'rounding'],
  'btt-moe': ['experts', 'k', 'normalize', 'rounding'],
  'dense-moe': ['experts', 'k'],
  'low-rank-moe': ['experts', 'k', 'rank', 'normalize'],
  moe: ['experts', 'k'],
};

/** The names that `parseStructure` knows; a θ is written as such. */
export const STRUCTURE_NAMES: readonly string[] = Object.keys(OPTIONS).filter(
  (kind) => kind !== 'einsum',
);

/** The paper's points for named structures (rank exponents are those of the default rank). */
export const NAMED_THETA = {
  dense: parseTheta('(1|0|0|0|1|0|1)'),
  btt: parseTheta('(0.5|0|0.5|0|0.5|0.5|0)'),
  monarch: parseTheta('(0.5|0|0.5|0|0.5|0.5|0)'),
  'low-rank': parseTheta('(1|0|0|0|1|0|0.5)'),
  kronecker: parseTheta('(0.5|0.5|0|0.5|0.5|0|0)'),
  'tensor-train': parseTheta('(0.5|0.5|0|0.5|0.5|0|0.25)'),
} as const satisfies Readonly<Record<string, Theta>>;

const DEFAULT_EXPERTS = 8;
const DEFAULT_K = 2;

/**
 * Reads a structure from one string: a name or a θ, then options after a colon, as in `btt:rank=4`,
 * `btt-moe:experts=8,k=2` or `(0.5|0|0.5|0|0.5|0.5|0):rounding=paper,normalize=false`. Defaults: rank 1
 * (btt), 8 experts of which 2 are active, normalised factors with gains where the structure has them,
 * nearest divisors. The θ of a dense layer, (1|0|0|0|1|0|1), stands for `dense`, which runs as one product.
 *
 * @throws EinlinearError INVALID_ARGUMENT for an unknown name or option, a value outside its range, or
 *   options that contradict each other; OUT_OF_RANGE for k beyond the experts; INVALID_THETA for a θ outside
 *   the space.
 */
export function parseStructure(text: string): Structure {
  if (typeof (text as unknown) !== 'string') {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected the text of a structure, such as 'btt:rank=4', got ${JSON.stringify(text)}`,
      { structure: text },
    );
  }
  const [head = '', ...tail] = text.trim().split(':');
  const name = head.trim();
  if (name.startsWith('(')) {
    const theta = parseTheta(name);
    const options = new Options(text, 'einsum', tail);
    const structure: Structure = {
      kind: 'einsum',
      theta,
      normalize: options.flag('normalize', true),
      rounding: options.rounding(),
    };
    return isDenseTheta(theta) ? { kind: 'dense' } : structure;
  }
  if (!isNamedKind(name)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected structure to be one of ${STRUCTURE_NAMES.join(', ')} or a θ such as ` +
        `(0.5|0|0.5|0|0.5|0.5|0), got '${text}'`,
      { structure: text },
    );
  }
  return validateStructure(fromOptions(name, new Options(text, name, tail)));
}

/** Writes a structure as the shortest string that `parseStructure` reads back as the same. */
export function formatStructure(structure: Structure): string {
  const head = structure.kind === 'einsum' ? formatTheta(structure.theta) : structure.kind;
  const defaults = structure.kind === 'einsum' ? undefined : parseStructure(structure.kind);
  const given: Readonly<Record<string, unknown>> = { ...structure };
  const usual: Readonly<Record<string, unknown>> = defaults
    ? { ...defaults }
    : { normalize: true, rounding: 'divisors' };
  const bare = given['normalize'] === false; // gains follow normalisation unless written
  const options = OPTIONS[structure.kind]
    .filter((name) => given[name] !== undefined)
    .filter((name) => given[name] !== (name === 'gains' ? !bare : usual[name]))
    .map((name) => `${name}=${String(given[name])}`);
  return options.length === 0 ? head : `${head}:${options.join(',')}`;
}

/**
 * The θ of a structure at given widths, the exponent of an integer rank being what it is at these widths,
 * log(rank) / log(min(dIn, dOut)), at most one. Of a mixture it is the θ of one expert.
 */
export function thetaOfStructure(structure: Structure, dIn: number, dOut: number): Theta {
  const width = Math.min(dIn, dOut);
  const withRank = (theta: Theta, rank: number | undefined): Theta =>
    rank === undefined || width === 1
      ? theta
      : { ...theta, rho: Math.min(1, Math.log(rank) / Math.log(width)) };
  switch (structure.kind) {
    case 'einsum':
      return structure.theta;
    case 'dense':
    case 'dense-moe':
    case 'moe':
      return NAMED_THETA.dense;
    case 'btt':
      return withRank(NAMED_THETA.btt, structure.rank);
    case 'btt-moe':
      return NAMED_THETA.btt;
    case 'monarch':
      return NAMED_THETA.monarch;
    case 'kronecker':
      return NAMED_THETA.kronecker;
    case 'tensor-train':
      return withRank(NAMED_THETA['tensor-train'], structure.rank);
    case 'low-rank':
    case 'low-rank-moe':
      return withRank(NAMED_THETA['low-rank'], lowRank(structure, dIn, dOut));
  }
}

/**
 * Rank of a low-rank structure at given widths: as given, else ⌈fraction · min(dIn, dOut)⌉; by default
 * ⌈√min(dIn, dOut)⌉, or ⌈min(dIn, dOut) / experts⌉ for an expert.
 */
export function lowRank(
  structure: Extract<Structure, { kind: 'low-rank' | 'low-rank-moe' }>,
  dIn: number,
  dOut: number,
): number {
  const width = Math.min(dIn, dOut);
  if (structure.rank !== undefined) return structure.rank;
  if (structure.kind === 'low-rank-moe') return Math.ceil(width / structure.experts);
  if (structure.fraction !== undefined) {
    // 0.07 · 100 is a little more than 7 in binary; that is not an eighth rank.
    return Math.ceil(structure.fraction * width - 1e-9 * width);
  }
  return Math.ceil(Math.sqrt(width));
}

/**
 * Checks a structure that was made by hand.
 *
 * @throws EinlinearError INVALID_ARGUMENT, INVALID_THETA or (k beyond the experts) OUT_OF_RANGE, naming the value and
 *   what was expected.
 */
export function validateStructure(structure: Structure): Structure {
  const kind = (structure as { kind?: unknown } | null | undefined)?.kind;
  if (!(Object.keys(OPTIONS) as unknown[]).includes(kind)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected a structure whose kind is one of ${Object.keys(OPTIONS).join(', ')}, got ${JSON.stringify(structure)}`,
      { structure },
    );
  }
  if (structure.kind === 'einsum') validateTheta(structure.theta);
  const given: Readonly<Partial<Record<string, unknown>>> = { ...structure };
  const { normalize = true, gains = true, rounding = 'divisors' } = given;
  requireBooleans({ normalize, gains });
  requireOneOf('rounding', rounding, ROUNDINGS);
  if ('rank' in structure && structure.rank !== undefined) {
    positiveInteger('rank', structure.rank);
  }
  if (structure.kind === 'low-rank' && structure.fraction !== undefined) {
    const { fraction, rank } = structure;
    if (!(fraction > 0 && fraction <= 1)) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected fraction to be more than 0 and at most 1, got ${fraction}`,
        { fraction },
      );
    }
    if (rank !== undefined) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected either rank or fraction for low-rank, got rank ${rank} and fraction ${fraction}`,
        { rank, fraction },
      );
    }
  }
  if (structure.kind === 'btt' && structure.gains && !structure.normalize) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      'Expected gains=false with normalize=false (gains multiply normalised factors), got gains=true',
      { gains: true, normalize: false },
    );
  }
  if ('experts' in structure) {
    const { experts, k } = structure;
    positiveInteger('experts', experts);
    positiveInteger('k', k);
    if (k > experts) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected k to be at most ${experts} (the number of experts), got ${k}`,
        { k, experts },
      );
    }
  }
  return structure;
}

function isNamedKind(name: string): name is Exclude<Kind, 'einsum'> {
  return STRUCTURE_NAMES.includes(name);
}

function isDenseTheta(theta: Theta): boolean {
  const dense = thetaToArray(NAMED_THETA.dense);
  return thetaToArray(theta).every((value, i) => value === dense[i]);
}

function fromOptions(kind: Exclude<Kind, 'einsum'>, options: Options): Structure {
  const normalize = options.flag('normalize', true);
  const rounding = options.rounding();
  const rank = options.number('rank');
  const ranked = rank === undefined ? {} : { rank };
  const mixture = {
    experts: options.number('experts') ?? DEFAULT_EXPERTS,
    k: options.number('k') ?? DEFAULT_K,
  };
  switch (kind) {
    case 'dense':
      return { kind };
    case 'btt':
      return {
        kind,
        rank: rank ?? 1,
        normalize,
        gains: options.flag('gains', normalize),
        rounding,
      };
    case 'monarch':
    case 'kronecker':
      return { kind, normalize, rounding };
    case 'low-rank': {
      const fraction = options.number('fraction');
      return { kind, ...ranked, ...(fraction === undefined ? {} : { fraction }), normalize };
    }
    case 'tensor-train':
      return { kind, ...ranked, normalize, rounding };
    case 'btt-moe':
      return { kind, ...mixture, normalize, rounding };
    case 'low-rank-moe':
      return { kind, ...mixture, ...ranked, normalize };
    case 'dense-moe':
    case 'moe':
      return { kind, ...mixture };
  }
}

/** The `name=value` pairs after the colon of a structure string. */
class Options {
  readonly #values = new Map<OptionName, string>();
  readonly #text: string;

  constructor(text: string, kind: Kind, tail: readonly string[]) {
    this.#text = text;
    const allowed = OPTIONS[kind];
    const fields = tail
      .join(':')
      .split(',')
      .map((field) => field.trim());
    if (tail.length === 0) return;
    for (const field of fields) {
      const split = field.indexOf('=');
      const given = field.slice(0, Math.max(split, 0)).trim();
      const value = field.slice(split + 1).trim();
      const name = allowed.find((option) => option === given);
      if (name === undefined || value === '') {
        const expected =
          allowed.length === 0 ? 'no options' : `options such as ${allowed.join('=…, ')}=…`;
        throw new EinlinearError(
          'INVALID_ARGUMENT',
          `Expected ${expected} for structure ${kind === 'einsum' ? 'θ' : kind}, got '${field}' in '${text}'`,
          { structure: text, option: field, allowed },
        );
      }
      if (this.#values.has(name)) {
        throw new EinlinearError(
          'INVALID_ARGUMENT',
          `Expected option ${name} once, got it twice in '${text}'`,
          { structure: text, option: name },
        );
      }
      this.#values.set(name, value);
    }
  }

  number(name: OptionName): number | undefined {
    const value = this.#values.get(name);
    if (value === undefined) return undefined;
    if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(value)) this.#refuse(name, value, 'a number');
    return Number(value);
  }

  flag(name: OptionName, fallback: boolean): boolean {
    const value = this.#values.get(name);
    if (value === undefined) return fallback;
    if (value !== 'true' && value !== 'false') this.#refuse(name, value, 'true or false');
    return value === 'true';
  }

  rounding(): Rounding {
    const value = this.#values.get('rounding') ?? 'divisors';
    if (value !== 'divisors' && value !== 'paper') {
      this.#refuse('rounding', value, 'divisors or paper');
    }
    return value;
  }

  #refuse(name: OptionName, value: string, expected: string): never {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be ${expected}, got '${value}' in '${this.#text}'`,
      { structure: this.#text, [name]: value },
    );
  }
}
