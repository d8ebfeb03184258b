import { dropout, gelu, moeCombine, moeDispatch, type Generator, type Tensor } from '../tensor';
import { denseInitStd, type Fans } from '../structure';
import { requireObject } from '../checks';
import { requireInRange, requirePositiveInteger } from './check';
import { Gate } from './gate';
import { GroupedLinear } from './groupedLinear';
import type { LinearOptions } from './linear';
import { UnaryModule } from './module';
import { matrix } from './muP';
import { allOrNothing } from './parameter';

export interface MoEOptions extends Omit<LinearOptions, 'bias' | 'baseFans'> {
  /** How many two-layer experts. */
  experts: number;
  /** How many experts each token goes through (default 2). */
  k?: number;
  /** Whether the experts' layers have biases (default false); they start at zero. */
  bias?: boolean;
  /** Width between an expert's two layers (default 4 · dModel). */
  hidden?: number;
  /** Form of the GELU between them (default 'none': erf). */
  gelu?: 'none' | 'tanh';
  /** Probability of dropping an output feature in training (default 0). */
  dropout?: number;
  /** Source of the dropout masks (default: the global one). */
  dropoutGenerator?: Generator;
  /** Fans of one expert's first layer, [dModel → hidden], in the base model (μP). */
  baseFans?: Fans;
}

/**
 * Standard sparse mixture of experts in place of a feed-forward block: a gate sends each token through k of the
 * two-layer experts and sums their outputs by its weights.
 */
export class MoE extends UnaryModule {
  readonly dModel: number;
  readonly hidden: number;
  readonly gate: Gate;
  /** First layers of the experts. */
  readonly up: GroupedLinear;
  /** Second layers of the experts; zero at the start with `zeroInit`. */
  readonly down: GroupedLinear;
  readonly #gelu: 'none' | 'tanh';
  readonly #dropout: number;
  readonly #dropoutGenerator: Generator | undefined;

  /** @throws EinlinearError OUT_OF_RANGE if k exceeds the number of experts */
  constructor(dModel: number, options: MoEOptions) {
    super();
    requireObject('options', options);
    requirePositiveInteger('dModel', dModel);
    const { experts, k = 2, hidden = 4 * dModel, zeroInit = false, baseFans } = options;
    const { bias = false, generator, device } = options;
    requirePositiveInteger('hidden', hidden);
    requireInRange('dropout', options.dropout ?? 0, 0, 1);
    this.dModel = dModel;
    this.hidden = hidden;
    this.#gelu = options.gelu ?? 'none';
    this.#dropout = options.dropout ?? 0;
    this.#dropoutGenerator = options.dropoutGenerator;
    const parts = allOrNothing(() => ({
      gate: new Gate(dModel, experts, k, {
        baseFans: baseFans && { fanIn: baseFans.fanIn, fanOut: experts },
        device,
      }),
      up: new GroupedLinear(
        experts,
        dModel,
        hidden,
        denseInitStd(dModel, hidden),
        matrix({ fanIn: dModel, fanOut: hidden }, baseFans),
        { bias, generator, device },
      ),
      down: new GroupedLinear(
        experts,
        hidden,
        dModel,
        zeroInit ? 0 : denseInitStd(hidden, dModel),
        matrix(
          { fanIn: hidden, fanOut: dModel },
          baseFans && { fanIn: baseFans.fanOut, fanOut: baseFans.fanIn },
        ),
        { bias, generator, device },
      ),
    }));
    this.gate = parts.gate;
    this.up = parts.up;
    this.down = parts.down;
  }

  /** Multiply-accumulates of the forward pass for one token, gate included. */
  get macsPerToken(): number {
    return this.gate.k * 2 * this.dModel * this.hidden + this.gate.experts * this.dModel;
  }

  /** @param x [..., dModel] @returns [..., dModel] */
  forward(x: Tensor): Tensor {
    return this.tidied(() => {
      const { index, weight } = this.gate.forward(x);
      const { rows, position, offsets } = moeDispatch(x, index, this.gate.experts);
      const hidden = gelu(this.up.forward(rows, offsets), { approximate: this.#gelu });
      const out = dropout(this.down.forward(hidden, offsets), this.#dropout, {
        training: this.training,
        generator: this.#dropoutGenerator,
      });
      return moeCombine(out, weight, position, weight.size / this.gate.k).reshape(x.shape);
    });
  }
}
