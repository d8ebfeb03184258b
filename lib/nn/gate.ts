import { EinlinearError } from '../errors';
import { linear, moeRoute, tidy, type Device, type Tensor } from '../tensor';
import type { Fans } from '../structure';
import { requireAtMost, requirePositiveInteger } from './check';
import { Module } from './module';
import { matrix } from './muP';
import { Parameter } from './parameter';

/** Which experts each token goes to. */
export interface Route {
  /** int32 [..., k]: chosen experts, best first. */
  index: Tensor;
  /** [..., k]: their weights. */
  weight: Tensor;
}

/** How a gate used its experts in its last forward. */
export interface GateStatistics {
  /** Name of the gate in the model. */
  name: string;
  /** Mean over tokens of the perplexity of the gate's softmax (1: decided, experts: undecided). */
  perplexity: number;
  /** Perplexity of the average softmax (1: collapsed, experts: balanced). */
  averagePerplexity: number;
  /** Share of the chosen slots that each expert got, [experts]. */
  usage: number[];
}

export interface GateOptions {
  /** Added to each weight of a chosen expert (1e-6 in BTT-MoE, else 0). */
  weightEpsilon?: number;
  /** Fans of the dense layer that the gate routes for, whose learning rate it has (μP; default: the gate's own). */
  fans?: Fans;
  /** The same in the base model (default: no change of width). */
  baseFans?: Fans;
  device?: Device;
}

/**
 * Top-k gate: logits = G x, weights = softmax over the k largest logits. G starts at zero, so that the first
 * choice is uniform. Its auxiliary loss, experts · Σ_e p_e f_e + 0.1 · mean (logsumexp logits)², balances
 * the experts and keeps the logits small.
 */
export class Gate extends Module {
  readonly dIn: number;
  readonly experts: number;
  readonly k: number;
  readonly weightEpsilon: number;
  /** [experts, dIn] */
  readonly weight: Parameter;
  #auxLoss: Tensor | null = null;
  #usage: Tensor | null = null;
  #perplexity: Tensor | null = null;

  /** @throws EinlinearError OUT_OF_RANGE if k exceeds the number of experts */
  constructor(dIn: number, experts: number, k: number, options: GateOptions = {}) {
    super();
    requirePositiveInteger('dIn', dIn);
    requirePositiveInteger('experts', experts);
    requirePositiveInteger('k', k);
    requireAtMost('k', k, experts, 'the number of experts');
    this.dIn = dIn;
    this.experts = experts;
    this.k = k;
    this.weightEpsilon = options.weightEpsilon ?? 0;
    const { fans = { fanIn: dIn, fanOut: experts }, baseFans, device } = options;
    this.weight = Parameter.zeros([experts, dIn], matrix(fans, baseFans), device);
  }

  /** @param x [..., dIn] */
  forward(x: Tensor): Route {
    return this.tidied(() => {
      const logits = linear(x, this.weight, null);
      const route = moeRoute(logits, this.k, { weightEpsilon: this.weightEpsilon });
      this.#forget();
      this.#auxLoss = route.aux;
      this.#usage = route.usage.keep();
      this.#perplexity = route.perplexity.keep();
      return { index: route.index, weight: route.weight };
    });
  }

  /**
   * Auxiliary loss of the last forward (a scalar on the tape), or null before the first. It lives until the next
   * forward, or the end of the tidy that the last one ran in.
   */
  get auxLoss(): Tensor | null {
    return this.#auxLoss;
  }

  protected override get remembered(): Tensor | null {
    return this.#auxLoss;
  }

  /** Statistics of the last forward, or null before the first. Reads from the device. */
  async statistics(name = ''): Promise<GateStatistics | null> {
    if (this.#usage === null || this.#perplexity === null) return null;
    const [usage, perplexity] = await Promise.all([this.#usage.data(), this.#perplexity.data()]);
    return {
      name,
      perplexity: perplexity[0],
      averagePerplexity: perplexity[1],
      usage: Array.from(usage),
    };
  }

  override dispose(): void {
    super.dispose();
    this.#forget();
  }

  #forget(): void {
    for (const tensor of [this.#auxLoss, this.#usage, this.#perplexity]) tensor?.dispose();
    this.#auxLoss = this.#usage = this.#perplexity = null;
  }
}

/** All gates in a module. */
export function gates(module: Module): Gate[] {
  return module.modules().filter((m) => m instanceof Gate);
}

/**
 * Mean of the auxiliary losses of all gates at their last forward, a scalar on the tape; null if the module
 * has no gate or was never run. To be called in the tidy that the forward ran in.
 *
 * @throws EinlinearError DISPOSED if that tidy has ended
 */
export function auxLoss(module: Module): Tensor | null {
  const losses = gates(module)
    .map((gate) => gate.auxLoss)
    .filter((loss) => loss !== null);
  if (losses.length === 0) return null;
  if (losses.some((loss) => loss.isDisposed)) {
    throw new EinlinearError(
      'DISPOSED',
      'Expected auxLoss to be called in the tidy that the forward ran in, got a call after its end',
    );
  }
  return tidy(() => {
    const sum = losses.slice(1).reduce((total, loss) => total.add(loss), losses[0]);
    return sum.mul(1 / losses.length);
  });
}

/** Statistics of every gate that has run, in the order of the modules. Reads from the device. */
export async function gateStatistics(module: Module): Promise<GateStatistics[]> {
  const all = await Promise.all(
    module
      .namedModules()
      .filter((entry): entry is [string, Gate] => entry[1] instanceof Gate)
      .map(([name, gate]) => gate.statistics(name)),
  );
  return all.filter((statistics) => statistics !== null);
}
