import { EinlinearError } from '../errors';

/** Factor on the learning rate at a step, counted from 0. */
export type Schedule = (step: number) => number;

export interface WarmupOptions {
  /** Steps over which the factor rises linearly from 0 (default 0). */
  warmupSteps?: number;
}

export interface DecayOptions extends WarmupOptions {
  /** Step at which the decay ends, warm-up included; the factor then stays. */
  steps: number;
  /** Factor at the end (default 0). */
  final?: number;
}

/** step / warmupSteps, then 1. */
export function constantSchedule(options: WarmupOptions = {}): Schedule {
  return withWarmup(options, () => 1);
}

/** Warm-up, then half a cosine from 1 to `final`. */
export function cosineSchedule(options: DecayOptions): Schedule {
  return withDecay(options, (progress) => 0.5 * (1 + Math.cos(Math.PI * progress)));
}

/** Warm-up, then a straight line from 1 to `final`. */
export function linearSchedule(options: DecayOptions): Schedule {
  return withDecay(options, (progress) => 1 - progress);
}

function withWarmup({ warmupSteps = 0 }: WarmupOptions, after: Schedule): Schedule {
  requireSteps('warmupSteps', warmupSteps);
  return (step) => (step < warmupSteps ? step / warmupSteps : after(step));
}

function withDecay(options: DecayOptions, shape: (progress: number) => number): Schedule {
  const { steps, final = 0, warmupSteps = 0 } = options;
  requireSteps('steps', steps);
  if (!(final >= 0 && final <= 1)) {
    throw new EinlinearError('INVALID_ARGUMENT', `Expected final to be from 0 to 1, got ${final}`, {
      final,
    });
  }
  if (warmupSteps > steps) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected warmupSteps to be at most steps (${steps}), got ${warmupSteps}`,
      { warmupSteps, steps },
    );
  }
  return withWarmup(options, (step) => {
    if (step >= steps) return final;
    return final + (1 - final) * shape((step - warmupSteps) / (steps - warmupSteps));
  });
}

function requireSteps(name: string, value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected ${name} to be a whole number of at least 0, got ${value}`,
      { [name]: value },
    );
  }
}
