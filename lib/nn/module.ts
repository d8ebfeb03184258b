import { tidy, type Tensor } from '../tensor';
import { Parameter } from './parameter';
import { loadTensors, type LoadReport, type StateDict } from './stateDict';

/**
 * A part of a model. Parameters and submodules are found among its own properties (also in arrays of
 * modules), so a subclass just assigns them; their names are the property names, joined by dots.
 */
export abstract class Module {
  /** Whether dropout is active; set by {@link train} and {@link eval}. */
  training = true;

  /** The direct submodules with their names. */
  namedChildren(): [string, Module][] {
    const children: [string, Module][] = [];
    for (const [key, value] of Object.entries(this) as [string, unknown][]) {
      if (value instanceof Module) children.push([key, value]);
      if (!Array.isArray(value)) continue;
      value.forEach((item: unknown, i) => {
        if (item instanceof Module) children.push([`${key}.${i}`, item]);
      });
    }
    return children;
  }

  /** This module and everything in it, depth first, with dotted names ('' for itself). */
  namedModules(prefix = ''): [string, Module][] {
    const modules: [string, Module][] = [[prefix, this]];
    for (const [name, child] of this.namedChildren()) {
      modules.push(...child.namedModules(prefix === '' ? name : `${prefix}.${name}`));
    }
    return modules;
  }

  /** This module and everything in it, depth first. */
  modules(): Module[] {
    return this.namedModules().map(([, module]) => module);
  }

  /** All parameters with dotted names; a parameter used twice is listed once, under its first name. */
  namedParameters(): [string, Parameter][] {
    const seen = new Set<Parameter>();
    const parameters: [string, Parameter][] = [];
    for (const [path, module] of this.namedModules()) {
      for (const [key, value] of Object.entries(module) as [string, unknown][]) {
        if (!(value instanceof Parameter) || seen.has(value)) continue;
        seen.add(value);
        parameters.push([path === '' ? key : `${path}.${key}`, value]);
      }
    }
    return parameters;
  }

  /** All parameters, in the order of {@link namedParameters}. */
  parameters(): Parameter[] {
    return this.namedParameters().map(([, parameter]) => parameter);
  }

  /** How many numbers the parameters hold. */
  parameterCount(): number {
    return this.parameters().reduce((sum, parameter) => sum + parameter.size, 0);
  }

  /** The parameters by name. The tensors are the live ones, not copies. */
  stateDict(): Map<string, Tensor> {
    return new Map(this.namedParameters());
  }

  /**
   * Copies values into the parameters, after everything has been checked.
   *
   * @param state values by parameter name
   * @param options.strict whether names must match exactly (default); otherwise what both have is copied
   * @returns the missing and unexpected names (both empty if strict)
   * @throws EinlinearError CHECKPOINT_MISMATCH listing all missing names, unexpected names, wrong shapes and values
   *   that are not live float32; INVALID_ARGUMENT unless the state is a Map; DISPOSED
   */
  loadStateDict(state: StateDict, { strict = true }: { strict?: boolean } = {}): LoadReport {
    return loadTensors('the module', new Map(this.namedParameters()), state, strict);
  }

  /**
   * Runs what a forward or a loss does in a `tidy`, so that nothing but its result stays, and nothing at all when it
   * throws. What modules remember of it (the auxiliary losses of gates) goes to the caller beside the result.
   */
  protected tidied<T>(body: () => T): T {
    return tidy(() => ({
      result: body(),
      remembered: this.modules().map((module) => module.remembered),
    })).result;
  }

  /** The tensor of the last forward that is read after it; null for modules that remember none. */
  protected get remembered(): Tensor | null {
    return null;
  }

  /** Switches dropout on (or off) here and in every submodule. */
  train(mode = true): this {
    for (const module of this.modules()) module.training = mode;
    return this;
  }

  /** Switches dropout off here and in every submodule. */
  eval(): this {
    return this.train(false);
  }

  /** Drops the gradients of all parameters. */
  zeroGrad(): void {
    for (const parameter of this.parameters()) parameter.zeroGrad();
  }

  /** Frees the parameters, their gradients and whatever else the module keeps. Idempotent. */
  dispose(): void {
    for (const [, child] of this.namedChildren()) child.dispose();
    for (const value of Object.values(this) as unknown[]) {
      if (value instanceof Parameter) value.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** A module that maps one tensor to one tensor. */
export abstract class UnaryModule extends Module {
  abstract forward(x: Tensor): Tensor;
}

/** A module that maps [..., dIn] to [..., dOut]: anything that can stand for a linear layer. */
export abstract class LinearLayer extends UnaryModule {
  abstract readonly dIn: number;
  abstract readonly dOut: number;
  /** Multiply-accumulates of the forward pass for one token, gates included. */
  abstract readonly macsPerToken: number;
}
