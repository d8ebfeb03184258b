import type { Command } from 'commander';

import { EinlinearError } from '../errors';
import {
  INDEX_NAMES,
  PAPER_PADDING_TOLERANCE,
  finiteTaxonomy,
  formatStructure,
  formatTheta,
  parseStructure,
  planStructure,
  relativePadding,
  taxonomy,
  thetaOfStructure,
  type EinsumSizes,
  type FactorPlan,
  type IndexName,
  type LayerPlan,
  type Structure,
  type Theta,
} from '../structure';

/** What the command prints, as `--json` gives it. Exponents and sizes of a mixture are those of one expert. */
export interface TaxonomyReport {
  readonly structure: string;
  readonly theta: string;
  readonly dIn: number;
  readonly dOut: number;
  /** MACs/parameters = Θ(d^ω). */
  readonly omega: number;
  /** Rank = Θ(d^ψ). */
  readonly psi: number;
  /** MACs = Θ(d^(1+ν)). */
  readonly nu: number;
  readonly redundant: boolean;
  readonly degenerate: boolean;
  readonly canonical: string;
  readonly sizes: Readonly<Record<IndexName, number>>;
  /** |product of sizes − width| / width. */
  readonly padding: { readonly input: number; readonly output: number };
  /** MACs of the forward pass for one token: active experts and gate for a mixture. */
  readonly macs: number;
  /** Learned numbers without biases and gains: all experts and the gate for a mixture. */
  readonly parameters: number;
  /** Rank of the operator that generic weights have; for a mixture, of what one token meets. */
  readonly rank: number;
  /** A dense matrix of the same widths. */
  readonly dense: { readonly macs: number; readonly parameters: number; readonly rank: number };
  /** Fans, initial standard deviation and learning-rate multipliers of each weight. */
  readonly factors: Readonly<Record<string, FactorPlan & { readonly shape: readonly number[] }>>;
  /** What deserves a word: redundant, degenerate, far from θ, beyond the paper's tolerance. */
  readonly notes: readonly string[];
}

/**
 * Adds `taxonomy <structure> --d-in N --d-out N [--json]`, which prints sizes, counts and exponents of a θ or
 * a named structure. Redundant and degenerate points are reported as such, never refused or changed.
 */
export function addTaxonomyCommand(program: Command): void {
  program
    .command('taxonomy')
    .summary('sizes, counts and exponents of a θ or a named structure')
    .description(
      'Print sizes, counts and exponents of a structure: a θ such as (0.5|0|0.5|0|0.5|0.5|0.25), in the order ' +
        'α, β, γ, δ, ε, φ, ρ, or a name such as btt:rank=4. Redundant and degenerate points have a taxonomy too.',
    )
    .argument('<theta>', 'a θ in quotes, or a structure by name')
    .requiredOption('--d-in <n>', 'input features', (text) => width('--d-in', text))
    .requiredOption('--d-out <n>', 'output features', (text) => width('--d-out', text))
    .option('--json', 'print one JSON object')
    .action((text: string, options: { dIn: number; dOut: number; json?: boolean }) => {
      const report = reportTaxonomy(text, options.dIn, options.dOut);
      console.log(options.json ? toJson(report) : renderTaxonomy(report));
    });
}

/**
 * Everything the command says about a structure at given widths.
 *
 * @throws EinlinearError as `parseStructure` does, and INVALID_ARGUMENT for widths that are not positive
 *   integers; never NOT_FACTORABLE.
 */
export function reportTaxonomy(text: string, dIn: number, dOut: number): TaxonomyReport {
  const structure = parseStructure(text);
  const plan = planStructure(structure, dIn, dOut, { tolerance: Infinity });
  const theta = thetaOfStructure(structure, dIn, dOut);
  const { canonical, ...exponents } = taxonomy(theta);
  const sizes = sizesOf(plan, dIn, dOut);
  const padding = relativePadding(sizes);
  return {
    structure: formatStructure(structure),
    theta: formatTheta(theta),
    dIn,
    dOut,
    ...exponents,
    canonical: formatTheta(canonical),
    sizes: pickSizes(sizes),
    padding,
    macs: plan.macsPerToken,
    parameters: plan.parameters,
    rank: rankOf(plan, dIn, dOut),
    dense: { macs: dIn * dOut, parameters: dIn * dOut, rank: Math.min(dIn, dOut) },
    factors: factorsOf(plan),
    notes: notesOn(structure, theta, sizes),
  };
}

/** Numbers at twelve significant digits: what comes after them is rounding of the arithmetic. */
function toJson(report: TaxonomyReport): string {
  const clean = (_: string, value: unknown): unknown =>
    typeof value === 'number' && !Number.isInteger(value) ? Number(value.toPrecision(12)) : value;
  return JSON.stringify(report, clean, 2);
}

/** The report laid out for people. */
export function renderTaxonomy(report: TaxonomyReport): string {
  const { theta, sizes, dense, factors } = report;
  const named = report.structure === theta ? '' : `  ${theta}`;
  const exponents = theta.slice(1, -1).split('|').map(Number);
  const count = (value: number): string => value.toLocaleString('en-US');
  const counts = (name: string, own: number, other: number): string[] => [
    name,
    count(own),
    count(other),
    `${number(own / other)}×`,
  ];
  const sections = [
    [
      `${report.structure}${named}`,
      `${report.dIn} → ${report.dOut} features; ` +
        `${report.redundant ? 'redundant' : 'canonical'}, ` +
        (report.degenerate ? 'degenerate' : 'not degenerate'),
    ],
    table([
      ['Index', ...INDEX_NAMES.map((name) => GREEK[name])],
      ['  exponent', ...exponents.map(number)],
      ['  size', ...INDEX_NAMES.map((name) => count(sizes[name]))],
    ]),
    table([
      ['Count', 'this layer', 'dense', 'ratio'],
      counts('  MACs per token', report.macs, dense.macs),
      counts('  parameters', report.parameters, dense.parameters),
      counts('  rank', report.rank, dense.rank),
    ]),
    table([
      ['Exponent', 'value'],
      ['  ω  MACs per parameter ~ d^ω', number(report.omega)],
      ['  ψ  rank ~ d^ψ', number(report.psi)],
      ['  ν  MACs ~ d^(1+ν)', number(report.nu)],
    ]),
    table([
      ['Weight', 'shape', 'fan-in', 'fan-out', 'init std', 'Adam lr', 'SGD lr'],
      ...Object.entries(factors).map(([name, factor]) => [
        `  ${name}`,
        factor.shape.join('·'),
        count(factor.fanIn),
        count(factor.fanOut),
        number(factor.initStd),
        `${number(factor.adamMultiplier)}×`,
        `${number(factor.sgdMultiplier)}×`,
      ]),
    ]),
    ...(report.notes.length === 0 ? [] : [['Notes', ...report.notes.map((note) => `  ${note}`)]]),
  ];
  return sections.map((lines) => lines.join('\n')).join('\n\n');
}

const GREEK: Readonly<Record<IndexName, string>> = {
  alpha: 'α',
  beta: 'β',
  gamma: 'γ',
  delta: 'δ',
  epsilon: 'ε',
  phi: 'φ',
  rho: 'ρ',
};

/** A size further than this factor from d^θ deserves a note. */
const FAR = 1.5;

function width(flag: string, text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < 1) {
    throw new EinlinearError(
      'INVALID_FLAG',
      `Expected ${flag} to be a positive integer, got '${text}'`,
      { flag, value: text },
    );
  }
  return value;
}

function sizesOf(plan: LayerPlan, dIn: number, dOut: number): EinsumSizes {
  switch (plan.kind) {
    case 'dense': {
      const one = { beta: 1, gamma: 1, delta: 1, phi: 1 };
      return { dIn, dOut, alpha: dIn, ...one, epsilon: dOut, rho: Math.min(dIn, dOut) };
    }
    case 'einsum':
      return plan.sizes;
    case 'btt-moe':
      return plan.einsum.sizes;
    case 'dense-moe':
    case 'low-rank-moe':
      return sizesOf(plan.expert, dIn, dOut);
  }
}

function pickSizes(sizes: EinsumSizes): Record<IndexName, number> {
  const { alpha, beta, gamma, delta, epsilon, phi, rho } = sizes;
  return { alpha, beta, gamma, delta, epsilon, phi, rho };
}

function rankOf(plan: LayerPlan, dIn: number, dOut: number): number {
  const full = Math.min(dIn, dOut);
  switch (plan.kind) {
    case 'dense':
      return full;
    case 'einsum':
      return finiteTaxonomy(plan.sizes).rank;
    case 'btt-moe':
      return finiteTaxonomy({ ...plan.einsum.sizes, rho: plan.k }).rank;
    case 'dense-moe':
    case 'low-rank-moe':
      return Math.min(full, plan.k * rankOf(plan.expert, dIn, dOut));
  }
}

function factorsOf(plan: LayerPlan): TaxonomyReport['factors'] {
  switch (plan.kind) {
    case 'dense':
      return { weight: { shape: [plan.dOut, plan.dIn], ...plan.weight } };
    case 'einsum': {
      const { alpha, beta, gamma, delta, epsilon, phi, rho } = plan.sizes;
      return {
        'A[φ,δ,ρ,γ,α]': { shape: [phi, delta, rho, gamma, alpha], ...plan.a },
        'B[φ,ε,ρ,γ,β]': { shape: [phi, epsilon, rho, gamma, beta], ...plan.b },
      };
    }
    case 'btt-moe':
      return { ...factorsOf(plan.einsum), gate: gateOf(plan) };
    case 'dense-moe':
    case 'low-rank-moe': {
      const expert = Object.entries(factorsOf(plan.expert)).map(
        ([name, factor]) => [`${name} of an expert`, factor] as const,
      );
      return { ...Object.fromEntries(expert), gate: gateOf(plan) };
    }
  }
}

function gateOf({ gate }: { gate: FactorPlan }): FactorPlan & { shape: readonly number[] } {
  return { shape: [gate.fanOut, gate.fanIn], ...gate };
}

function notesOn(structure: Structure, theta: Theta, sizes: EinsumSizes): string[] {
  const notes: string[] = [];
  const { redundant, degenerate, canonical } = taxonomy(theta);
  if (redundant) {
    notes.push(
      `Redundant: ${formatTheta(canonical)} is the same set of operators with the factors exchanged; ` +
        'counts are those of the cheaper order.',
    );
  }
  if (degenerate) {
    notes.push(
      'Degenerate: ρ exceeds min(α, ε) of the canonical form; the rank buys nothing more.',
    );
  }
  if (structure.kind.endsWith('moe')) {
    notes.push(
      structure.kind === 'moe'
        ? 'Experts replace whole feed-forward blocks; a linear layer on its own is dense.'
        : 'θ and exponents are those of one expert: the numbers of experts are constants.',
    );
  }
  const padding = relativePadding(sizes);
  for (const [side, value] of Object.entries(padding)) {
    if (value === 0) continue;
    const percent = (100 * value).toFixed(1);
    notes.push(
      value > PAPER_PADDING_TOLERANCE
        ? `The ${side} sizes miss the width by ${percent} %, more than the ` +
            `${100 * PAPER_PADDING_TOLERANCE} % at which the layer is refused.`
        : `The ${side} sizes miss the width by ${percent} %; the layer pads or truncates.`,
    );
  }
  if (structure.kind !== 'einsum' || structure.rounding === 'paper') return notes;
  for (const name of INDEX_NAMES) {
    const base = ['alpha', 'beta', 'gamma'].includes(name) ? sizes.dIn : sizes.dOut;
    const wanted = base ** theta[name];
    const ratio = sizes[name] / wanted;
    if (name === 'rho' || Math.max(ratio, 1 / ratio) <= FAR) continue;
    notes.push(
      `${GREEK[name]} is ${sizes[name]} where ${base}^${number(theta[name])} = ${number(wanted)}: ` +
        `${base} has no nearer exact factorisation.`,
    );
  }
  return notes;
}

/** Four significant digits, without trailing zeros. */
function number(value: number): string {
  return String(Number(value.toPrecision(4)));
}

/** First column to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i])))
      .join('  ')
      .trimEnd(),
  );
}
