import { EinlinearError } from '../errors';
import { learningRateMultiplier, type Module, type OptimizerKind, type Parameter } from '../nn';

/** Parameters that share a learning rate and a weight decay. */
export interface ParameterGroup {
  /** Parameters with the names under which their state is saved. */
  parameters: readonly (readonly [name: string, parameter: Parameter])[];
  /** Factor on the optimiser's learning rate (default 1). */
  lrMultiplier?: number;
  /** Weight decay (default: the optimiser's, on parameters with `info.decay`; none elsewhere). */
  weightDecay?: number;
}

export interface ParameterGroupsOptions {
  /** Rule by which learning rates transfer (default 'adam'). */
  optimizer?: OptimizerKind;
  /** Weight decay of matrices and factors; biases, norms and gains have none (default 0). */
  weightDecay?: number;
}

/** A group of one parameter, as {@link parameterGroups} makes it. */
export interface SingleParameterGroup extends ParameterGroup {
  name: string;
  lrMultiplier: number;
  weightDecay: number;
}

/**
 * One group per parameter with its learning-rate multiplier and decay: the structure's own multiplier (structure-aware
 * μP) times the μP ratio of the dense layer between the model and its base widths, which the model's modules were
 * created with. With these the learning rate found at the base width serves every width and structure.
 */
export function parameterGroups(
  model: Module,
  options: ParameterGroupsOptions = {},
): SingleParameterGroup[] {
  const { optimizer = 'adam', weightDecay = 0 } = options;
  if (!(weightDecay >= 0)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected weightDecay to be at least 0, got ${weightDecay}`,
      { weightDecay },
    );
  }
  return model.namedParameters().map(([name, parameter]) => ({
    name,
    parameters: [[name, parameter]],
    lrMultiplier: learningRateMultiplier(parameter.info, optimizer),
    weightDecay: parameter.info.decay ? weightDecay : 0,
  }));
}
