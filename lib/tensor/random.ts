import { EinlinearError } from '../errors';
import { requireInteger } from './checks';

/** Where a generator stands: what its next numbers depend on. */
export interface GeneratorState {
  seed: number;
  counter: number;
}

/**
 * A counter-based source of random numbers: number i of a seed is a function of (seed, i), the same
 * on every backend and for any number of threads. Each random op takes the current counter and
 * advances it by the number of values it draws, so that saving and restoring the state continues
 * bit-exactly.
 */
export class Generator {
  private current: GeneratorState;

  /**
   * @param seed whole number from 0 to 2^53 − 1
   * @throws OUT_OF_RANGE, INVALID_ARGUMENT
   */
  constructor(seed: number = 0) {
    requireInteger('seed', seed, 0);
    this.current = { seed, counter: 0 };
  }

  get seed(): number {
    return this.current.seed;
  }

  /** How many numbers were drawn. */
  get counter(): number {
    return this.current.counter;
  }

  /** A copy of the state; assign it to `state` of any generator to continue from here. */
  get state(): GeneratorState {
    return { ...this.current };
  }

  set state({ seed, counter }: GeneratorState) {
    requireInteger('seed', seed, 0);
    requireInteger('counter', counter, 0);
    this.current = { seed, counter };
  }

  /** Starts over with another seed. */
  reseed(seed: number): void {
    this.state = { seed, counter: 0 };
  }

  /** Reserves `count` numbers and tells where they start. */
  take(count: number): { seed: number; offset: number } {
    const { seed, counter } = this.current;
    if (counter + count > Number.MAX_SAFE_INTEGER) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected fewer than 2^53 numbers to be drawn from one seed, got ${counter} + ${count}`,
      );
    }
    this.current = { seed, counter: counter + count };
    return { seed, offset: counter };
  }
}

/** The generator that random ops use when they are given none. */
export const defaultGenerator = new Generator(0);

/** Restarts the default generator with this seed. */
export function manualSeed(seed: number): Generator {
  defaultGenerator.reseed(seed);
  return defaultGenerator;
}
