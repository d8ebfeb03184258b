import { ones, randn, Tensor, zeros, type Device, type Generator } from '../tensor';
import type { ParameterInfo } from './muP';

let underConstruction: Parameter[] | null = null;

/** Runs `body`, which creates modules; if it throws, the parameters that it had created are disposed. */
export function allOrNothing<T>(body: () => T): T {
  const outer = underConstruction;
  const created: Parameter[] = [];
  underConstruction = created;
  try {
    const result = body();
    outer?.push(...created);
    return result;
  } catch (error) {
    for (const parameter of created) parameter.dispose();
    throw error;
  } finally {
    underConstruction = outer;
  }
}

/**
 * A tensor that is trained: it requires a gradient, belongs to its module rather than to a `tidy`, and knows how its
 * learning rate scales and whether it decays.
 */
export class Parameter extends Tensor {
  readonly info: ParameterInfo;

  /** Takes over the values of `initial`, which is disposed. */
  constructor(initial: Tensor, info: ParameterInfo) {
    super(initial.storage.retain(), initial.shape, { requiresGrad: true });
    this.info = info;
    this.keep();
    initial.dispose();
    underConstruction?.push(this);
  }

  /** Normally distributed with mean 0. */
  static normal(
    shape: readonly number[],
    std: number,
    info: ParameterInfo,
    generator?: Generator,
    device?: Device,
  ): Parameter {
    return new Parameter(randn(shape, { std, generator, device }), info);
  }

  static zeros(shape: readonly number[], info: ParameterInfo, device?: Device): Parameter {
    return new Parameter(zeros(shape, { device }), info);
  }

  static ones(shape: readonly number[], info: ParameterInfo, device?: Device): Parameter {
    return new Parameter(ones(shape, { device }), info);
  }
}
