import { describe, requireArray, requireObject } from '../checks';
import { EinlinearError } from '../errors';
import { noGrad, zeros, type Tensor } from '../tensor';
import { requireFloat, requireSameDevice, requireShape } from '../tensor/checks';
import { Module, Parameter, type OptimizerKind, type StateDict } from '../nn';
import { loadTensors } from '../nn/stateDict';
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
  tensors: StateDict;
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
  #disposed = false;

  /**
   * @param target a module (its `parameterGroups` are used) or groups
   * @param kind rule by which a module's learning rates transfer
   * @param momentNames what is kept beside each parameter, starting at zero
   * @throws EinlinearError INVALID_ARGUMENT for a learning rate or decay that is negative or not a number, for a
   *   target that is neither, and for a parameter that is in two groups; DISPOSED for one that was disposed
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
      target instanceof Module
        ? parameterGroups(target, { optimizer: kind, weightDecay })
        : requireGroups(target);
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
      parameter.requireLive();
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

  /**
   * Updates every parameter that has a gradient, in place. A step that is refused changes nothing and does not count.
   *
   * @throws EinlinearError DISPOSED for an optimiser or parameter that was disposed; INVALID_ARGUMENT for a learning
   *   rate that is negative or not a number; DTYPE_MISMATCH, SHAPE_MISMATCH, DEVICE_MISMATCH for `gradScale`
   */
  step({ gradScale = null }: StepOptions = {}): void {
    this.#requireLive();
    requireAtLeastZero('lr', this.lr);
    if (gradScale !== null) requireScalar('gradScale', gradScale);
    for (const { name, parameter } of this.#slots) {
      parameter.requireLive();
      if (parameter.grad !== null) requireSameDevice({ [name]: parameter, gradScale });
    }
    const step = this.#step + 1;
    noGrad(() => {
      for (const slot of this.#slots) {
        const { grad } = slot.parameter;
        if (grad !== null) this.update(slot, grad, gradScale, step);
      }
    });
    this.#step = step;
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
   * Copies step count and moments in, after everything has been checked.
   *
   * @throws EinlinearError CHECKPOINT_MISMATCH listing what is missing, unexpected, of another shape or not live
   *   float32; INVALID_ARGUMENT unless the state is an object with a Map of tensors; DISPOSED
   */
  loadStateDict(state: LoadableOptimizerState): void {
    this.#requireLive();
    requireObject('state', state);
    const { step, tensors } = state;
    if (!Number.isSafeInteger(step) || step < 0) {
      throw new EinlinearError(
        'CHECKPOINT_MISMATCH',
        `Expected the optimiser's step to be a whole number, got ${describe(step)}`,
        { step },
      );
    }
    loadTensors('the optimiser', new Map(this.#namedMoments()), tensors);
    this.#step = step;
  }

  /** Frees the moments (not the parameters), after which the optimiser takes no more steps. Idempotent. */
  dispose(): void {
    this.#disposed = true;
    for (const slot of this.#slots) for (const moment of slot.moments) moment.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #requireLive(): void {
    if (!this.#disposed) return;
    throw new EinlinearError('DISPOSED', 'Expected a live optimiser, got one that was disposed');
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

/** Groups as a JavaScript caller may pass them. */
function requireGroups(target: unknown): readonly ParameterGroup[] {
  if (!Array.isArray(target)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected a Module or an array of parameter groups, got ${describe(target)}`,
    );
  }
  for (const [i, group] of (target as readonly unknown[]).entries()) {
    const { parameters } = Object(group) as { parameters?: unknown };
    requireArray(`parameters of group ${i}`, parameters);
    for (const entry of parameters) {
      const [name, parameter] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof name === 'string' && parameter instanceof Parameter) continue;
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected the parameters of group ${i} to be pairs of a name and a Parameter, got ${describe(entry)}`,
      );
    }
  }
  return target as readonly ParameterGroup[];
}

/** A live float32 tensor of one element. */
function requireScalar(name: string, tensor: Tensor): void {
  requireFloat(name, tensor);
  if (tensor.size !== 1) requireShape(name, tensor, []);
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
