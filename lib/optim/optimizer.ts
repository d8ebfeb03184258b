import { EinlinearError } from '../errors';
import { noGrad, Tensor, zeros } from '../tensor';
import { Module, type HostTensor, type OptimizerKind, type Parameter } from '../nn';
import { parameterGroups, type ParameterGroup } from './parameterGroups';

/** What an optimiser needs to go on where it was. */
export interface OptimizerState {
  /** Steps taken. */
  step: number;
  /** Moments, by the name of the parameter and that of the moment ('blocks.0.up.weight.m'). */
  tensors: Map<string, Tensor>;
}

/** An {@link OptimizerState} read from a file. */
export interface LoadableOptimizerState {
  step: number;
  tensors: ReadonlyMap<string, Tensor | HostTensor>;
}

/** One parameter with what its update needs. */
export interface Slot {
  readonly name: string;
  readonly parameter: Parameter;
  readonly lrMultiplier: number;
  readonly weightDecay: number;
  /** In the order of the optimiser's moment names. */
  readonly moments: readonly Tensor[];
}

export interface StepOptions {
  /** Factor on all gradients, a scalar on the device (from `clipGradNorm`). */
  gradScale?: Tensor | null;
}

/** What every optimiser shares: groups, learning rate, step count, state. */
export abstract class Optimizer {
  /** Learning rate before the groups' multipliers; set it from a schedule before each step. */
  lr: number;
  readonly #slots: readonly Slot[];
  readonly #momentNames: readonly string[];
  #step = 0;

  /**
   * @param target a module (its `parameterGroups` are used) or groups
   * @param kind rule by which a module's learning rates transfer
   * @param momentNames what is kept beside each parameter, starting at zero
   * @throws EinlinearError INVALID_ARGUMENT for a learning rate or decay that is negative or not a number, and for
   *   a parameter that is in two groups
   */
  protected constructor(
    target: Module | readonly ParameterGroup[],
    kind: OptimizerKind,
    lr: number,
    weightDecay: number,
    momentNames: readonly string[],
  ) {
    requireAtLeastZero('lr', lr);
    requireAtLeastZero('weightDecay', weightDecay);
    const groups =
      target instanceof Module ? parameterGroups(target, { optimizer: kind, weightDecay }) : target;
    const names = new Set<string>();
    const parameters = new Set<Parameter>();
    for (const [name, parameter] of groups.flatMap((group) => group.parameters)) {
      if (names.has(name) || parameters.has(parameter)) {
        throw new EinlinearError(
          'INVALID_ARGUMENT',
          `Expected every parameter to be in one group, got '${name}' twice`,
          { name },
        );
      }
      names.add(name);
      parameters.add(parameter);
    }
    for (const group of groups) {
      requireAtLeastZero('lrMultiplier', group.lrMultiplier ?? 1);
      requireAtLeastZero('weightDecay', group.weightDecay ?? 0);
    }
    this.lr = lr;
    this.#momentNames = momentNames;
    const allocated: Tensor[] = [];
    const moment = (parameter: Parameter): Tensor => {
      const zero = zeros(parameter.shape, { device: parameter.device }).keep();
      allocated.push(zero);
      return zero;
    };
    try {
      this.#slots = groups.flatMap((group) =>
        group.parameters.map(([name, parameter]) => ({
          name,
          parameter,
          lrMultiplier: group.lrMultiplier ?? 1,
          weightDecay: group.weightDecay ?? (parameter.info.decay ? weightDecay : 0),
          moments: momentNames.map(() => moment(parameter)),
        })),
      );
    } catch (error) {
      for (const tensor of allocated) tensor.dispose();
      throw error;
    }
  }

  /** Steps taken so far. */
  get stepCount(): number {
    return this.#step;
  }

  /** The parameters with their multipliers and decays. */
  get slots(): readonly Slot[] {
    return this.#slots;
  }

  /** The parameters. */
  get parameters(): Parameter[] {
    return this.#slots.map((slot) => slot.parameter);
  }

  /** Updates every parameter that has a gradient, in place. */
  step({ gradScale = null }: StepOptions = {}): void {
    this.#step += 1;
    noGrad(() => {
      for (const slot of this.#slots) {
        const { grad } = slot.parameter;
        if (grad !== null) this.update(slot, grad, gradScale, this.#step);
      }
    });
  }

  /** Updates one parameter; `step` counts from 1. */
  protected abstract update(slot: Slot, grad: Tensor, gradScale: Tensor | null, step: number): void;

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const { parameter } of this.#slots) parameter.zeroGrad();
  }

  /** Step count and moments. The tensors are the live ones, not copies. */
  stateDict(): OptimizerState {
    return { step: this.#step, tensors: new Map(this.#namedMoments()) };
  }

  /**
   * Copies step count and moments in, after checking all names and shapes.
   *
   * @throws EinlinearError CHECKPOINT_MISMATCH listing what is missing, unexpected or of another shape
   */
  loadStateDict(state: LoadableOptimizerState): void {
    if (!Number.isSafeInteger(state.step) || state.step < 0) {
      throw new EinlinearError(
        'CHECKPOINT_MISMATCH',
        `Expected the optimiser's step to be a whole number, got ${state.step}`,
        { step: state.step },
      );
    }
    const moments = new Map(this.#namedMoments());
    const missing = [...moments.keys()].filter((name) => !state.tensors.has(name));
    const unexpected = [...state.tensors.keys()].filter((name) => !moments.has(name));
    const wrongShapes = [...moments].filter(([name, moment]) => {
      const value = state.tensors.get(name);
      return value !== undefined && value.shape.join() !== moment.shape.join();
    });
    if (missing.length + unexpected.length + wrongShapes.length > 0) {
      const problems = [
        missing.length > 0 ? `missing: ${missing.join(', ')}` : '',
        unexpected.length > 0 ? `unexpected: ${unexpected.join(', ')}` : '',
        ...wrongShapes.map(
          ([name, moment]) =>
            `${name} expected shape [${moment.shape.join(', ')}], got [${(state.tensors.get(name)?.shape ?? []).join(', ')}]`,
        ),
      ].filter((problem) => problem !== '');
      throw new EinlinearError(
        'CHECKPOINT_MISMATCH',
        `Expected the state to match the optimiser; ${problems.join('; ')}`,
        { missing, unexpected, wrongShapes: wrongShapes.map(([name]) => name) },
      );
    }
    for (const [name, moment] of moments) {
      const value = state.tensors.get(name);
      if (value !== undefined) moment.copyFrom(value instanceof Tensor ? value : value.data);
    }
    this.#step = state.step;
  }

  /** Frees the moments (not the parameters). Idempotent. */
  dispose(): void {
    for (const slot of this.#slots) for (const moment of slot.moments) moment.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #namedMoments(): [string, Tensor][] {
    return this.#slots.flatMap((slot) =>
      slot.moments.map((moment, i): [string, Tensor] => [
        `${slot.name}.${this.#momentNames[i]}`,
        moment,
      ]),
    );
  }
}

/** @throws EinlinearError INVALID_ARGUMENT unless value is a finite number >= 0 */
export function requireAtLeastZero(name: string, value: number): void {
  if (!(Number.isFinite(value) && value >= 0)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be a finite number of at least 0, got ${value}`,
      { [name]: value },
    );
  }
}

/** @throws EinlinearError INVALID_ARGUMENT unless 0 <= value < 1 */
export function requireFraction(name: string, value: number): void {
  if (!(value >= 0 && value < 1)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be at least 0 and less than 1, got ${value}`,
      { [name]: value },
    );
  }
}
