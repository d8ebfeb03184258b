import { z } from 'zod';
import { EinlinearError } from '../../lib/errors';
import { fromPaper, linearEntries, sameLayout, toPaper, type PaperEntry } from '../../lib/models';
import {
  BTTMoELinear,
  EinsumLinear,
  MoE,
  type Gate,
  type LinearLayer,
  type Parameter,
  type UnaryModule,
} from '../../lib/nn';
import { parseTheta, planBTT, planEinsum, type EinsumPlan } from '../../lib/structure';
import { linear, tidy, type Tensor } from '../../lib/tensor';
import { type CaseFile, read } from './caseFile';
import type { Checker } from './checker';

/** Relative error allowed in a layer's outputs and gradients. */
const TOLERANCE = 1e-5;

const dims = z.record(z.string(), z.number());
const fans = z.array(z.tuple([z.number(), z.number()]));

const linearMeta = z.object({
  theta: z.string(),
  d_in: z.number(),
  d_out: z.number(),
  dims,
  normalize: z.boolean(),
  norm_eps: z.number(),
  core_fans: fans,
  init_std: z.array(z.number()),
  adam_lr_mult: z.array(z.number()),
  sgd_lr_mult: z.array(z.number()).optional(),
});

/** One two-factor layer at a θ. */
export function checkLinear(file: CaseFile, checker: Checker): void {
  const meta = linearMeta.parse(file.meta);
  const theta = parseTheta(meta.theta);
  const plan = planEinsum(theta, meta.d_in, meta.d_out, { rounding: 'paper' });
  checkPlan(plan, meta, checker);
  checker.exact('init std', [plan.a.initStd, plan.b.initStd], meta.init_std);
  checker.exact('Adam', [plan.a.adamMultiplier, plan.b.adamMultiplier], meta.adam_lr_mult);
  if (meta.sgd_lr_mult !== undefined) {
    checker.exact('SGD', [plan.a.sgdMultiplier, plan.b.sgdMultiplier], meta.sgd_lr_mult);
  }
  const bias = file.hasEither('bias', 'dbias');
  const layer = new EinsumLinear(plan, { normalize: meta.normalize, bias });
  compareLayer(file, layer, naming(layer, NAMES), checker);
}

/** A θ and size that the paper's rounding refuses. */
export function checkRejected(file: CaseFile, checker: Checker): void {
  const meta = linearMeta.pick({ theta: true, d_in: true, d_out: true }).parse(file.meta);
  const theta = parseTheta(meta.theta);
  try {
    planEinsum(theta, meta.d_in, meta.d_out, { rounding: 'paper' });
  } catch (error) {
    if (error instanceof EinlinearError && error.code === 'NOT_FACTORABLE') return;
    throw error;
  }
  checker.fail(`Expected ${meta.theta} at ${meta.d_in} → ${meta.d_out} to be refused, it was not`);
}

const bttMeta = z.object({
  d_in: z.number(),
  d_out: z.number(),
  rank: z.number(),
  norm_eps: z.number(),
  dims,
  core_fans: fans,
});

/** A normalised BTT of given rank with learned gains. */
export function checkBTTNorm(file: CaseFile, checker: Checker): void {
  const meta = bttMeta.parse(file.meta);
  const plan = planBTT(meta.d_in, meta.d_out, meta.rank, { rounding: 'paper' });
  checkPlan(plan, meta, checker);
  const gains = ['gain0', 'gain1'].some((name) => file.hasEither(name, `d${name}`));
  const layer = new EinsumLinear(plan, { gains, bias: file.hasEither('bias', 'dbias') });
  compareLayer(file, layer, naming(layer, NAMES), checker);
}

const bttMoEMeta = bttMeta.omit({ rank: true }).extend({
  experts: z.number(),
  k: z.number(),
  aux_coefficient: z.number(),
  gate_epsilon: z.number(),
});

/** A mixture of rank slices with its gate. */
export function checkBTTMoE(file: CaseFile, checker: Checker): void {
  const meta = bttMoEMeta.parse(file.meta);
  const { experts, k } = meta;
  const layer = new BTTMoELinear(meta.d_in, meta.d_out, {
    experts,
    k,
    rounding: 'paper',
    bias: file.hasEither('bias', 'dbias'),
  });
  checkPlan(layer.plan, meta, checker);
  checker.same('weight epsilon', layer.gate.weightEpsilon, meta.gate_epsilon);
  compareLayer(file, layer, naming(layer, MOE_NAMES), checker, {
    gate: layer.gate,
    coefficient: meta.aux_coefficient,
    routed: true,
  });
}

const ffnMoEMeta = z.object({
  d_model: z.number(),
  ffn_expansion: z.number(),
  experts: z.number(),
  k: z.number(),
  aux_coefficient: z.number(),
  activation: z.literal('gelu (erf)'),
});

/** A standard sparse mixture of two-layer experts. */
export function checkFfnMoE(file: CaseFile, checker: Checker): void {
  const meta = ffnMoEMeta.parse(file.meta);
  const { d_model: dModel, experts, k } = meta;
  const layer = new MoE(dModel, {
    experts,
    k,
    hidden: dModel * meta.ffn_expansion,
    bias: file.hasEither('param.experts.0.c_fc.bias', 'grad.experts.0.c_fc.bias'),
  });
  const { up, down, gate } = layer;
  const entries = [
    sameLayout('moe_gate.weight', gate.weight),
    ...Array.from({ length: experts }, (_, e) =>
      (
        [
          ['c_fc.weight', up.weight],
          ['c_proj.weight', down.weight],
          ['c_fc.bias', up.bias],
          ['c_proj.bias', down.bias],
        ] as const
      ).flatMap(([name, parameter]) =>
        parameter === null ? [] : [expertPart(`experts.${e}.${name}`, parameter, e)],
      ),
    ).flat(),
  ];
  compareLayer(file, layer, { entries, value: 'param.', gradient: 'grad.' }, checker, {
    gate,
    coefficient: meta.aux_coefficient,
    routed: false,
  });
}

/** Names in the case, by the names that the published layer has. */
const NAMES: Readonly<Record<string, string>> = {
  'L.b': 'bias',
  'L.matrix_params.0': 'A',
  'L.matrix_params.1': 'B',
  'L.matrix_params.2': 'gain0',
  'L.matrix_params.3': 'gain1',
};

const MOE_NAMES: Readonly<Record<string, string>> = {
  'L.b': 'bias',
  'L.btt_layer.matrix_params.0': 'A',
  'L.btt_layer.matrix_params.1': 'B',
  'L.btt_layer.matrix_params.2': 'gain0',
  'L.btt_layer.matrix_params.3': 'gain1',
  'L.moe_gate.weight': 'gate',
};

function checkPlan(
  plan: EinsumPlan,
  meta: { dims: Record<string, number>; core_fans: [number, number][]; norm_eps: number },
  checker: Checker,
): void {
  const sizes = new Map<string, number>(Object.entries(plan.sizes));
  for (const [name, size] of Object.entries(meta.dims)) {
    checker.same(`size ${name}`, sizes.get(name), size);
  }
  const got = [plan.a, plan.b].map(({ fanIn, fanOut }) => [fanIn, fanOut]);
  checker.exact('fans', got.flat(), meta.core_fans.flat());
  checker.exact('norm ε', [plan.normEps], [meta.norm_eps]);
}

/** How a layer's parameters are found in a case. */
interface Naming {
  /** Their layouts, under the names they have in the case. */
  entries: readonly PaperEntry[];
  /** Prefix of the name of a value. */
  value: string;
  /** Prefix of the name of a gradient. */
  gradient: string;
}

function naming(layer: LinearLayer, names: Readonly<Record<string, string>>): Naming {
  const entries = linearEntries('L', layer).map((entry) => ({
    ...entry,
    paper: names[entry.paper] ?? entry.paper,
  }));
  return { entries, value: '', gradient: 'd' };
}

/** The gate of a mixture, and what its case says about it. */
interface GateCase {
  gate: Gate;
  coefficient: number;
  /** Whether the case holds the choices of the gate. */
  routed: boolean;
}

/** Loads a layer, runs it on the case's input and compares output, auxiliary loss and all gradients. */
function compareLayer(
  file: CaseFile,
  layer: UnaryModule,
  { entries, value, gradient }: Naming,
  checker: Checker,
  auxiliary?: GateCase,
): void {
  try {
    tidy(() => {
      load(layer, entries, (name) => file.floats(value + name));
      const x = file.tensor('x', { requiresGrad: true });
      const y = layer.forward(x);
      checker.same('shape of y', y.shape, file.floats('y').shape);
      checker.close('y', read(y), file.floats('y').data, TOLERANCE);
      const loss = y.mul(file.tensor('dy')).sum();
      const aux = auxiliary?.gate.auxLoss;
      if (auxiliary !== undefined) {
        if (!aux) throw new Error('Expected an auxiliary loss, got none');
        checker.close('aux', read(aux), file.floats('aux').data, TOLERANCE);
        loss.add(aux.mul(auxiliary.coefficient)).backward();
      } else {
        loss.backward();
      }
      checker.close('dx', read(x.grad), file.floats('dx').data, TOLERANCE);
      for (const entry of entries) {
        const got = toPaper(entry, read(entry.parameter.grad));
        const name = gradient + entry.paper;
        checker.close(name, got, file.floats(name).data, TOLERANCE);
      }
      if (auxiliary?.routed) compareRoute(file, auxiliary.gate, x, checker);
    });
  } finally {
    layer.dispose();
  }
}

/** The choices of a gate. */
function compareRoute(file: CaseFile, gate: Gate, x: Tensor, checker: Checker): void {
  const { index, weight } = gate.forward(x);
  const expected = file.integers('topk_index');
  checker.same('top-k', Array.from(read(index)), Array.from(expected.data));
  checker.close('top-k weight', read(weight), file.floats('topk_weight').data, TOLERANCE);
  const logits = read(linear(x, gate.weight, null));
  checker.close('logits', logits, file.floats('logits').data, TOLERANCE);
}

/** Fills the parameters from the case, after checking shapes. */
function load(
  layer: UnaryModule,
  entries: readonly PaperEntry[],
  get: (name: string) => { shape: readonly number[]; data: Float32Array },
): void {
  const values = new Map(layer.parameters().map((p) => [p, new Float32Array(p.size)]));
  for (const entry of entries) {
    const { shape, data } = get(entry.paper);
    if (shape.join() !== entry.shape.join()) {
      throw new Error(
        `Expected ${entry.paper} of shape [${entry.shape.join()}], got [${shape.join()}]`,
      );
    }
    fromPaper(entry, data, values.get(entry.parameter)!);
  }
  for (const [parameter, data] of values) parameter.copyFrom(data);
}

/** One expert's part of a stacked parameter that is laid out alike on both sides. */
function expertPart(paper: string, parameter: Parameter, expert: number): PaperEntry {
  const shape = parameter.shape.slice(1);
  const size = shape.reduce((product, s) => product * s, 1);
  return { paper, shape, parameter, expert, view: [size], permutation: [0] };
}
