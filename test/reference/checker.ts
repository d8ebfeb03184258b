/** The tolerance of counts, fans and multipliers: the same double-precision arithmetic on both sides. */
const EXACT = 1e-12;

type Numbers = ArrayLike<number>;

/** Gathers the comparisons of one case. */
export class Checker {
  readonly failures: string[] = [];
  /** Largest relative error so far, and of what. */
  worst = { error: 0, what: 'nothing compared' };

  /** ‖got − expected‖ / ‖expected‖; an expected zero must be met exactly. */
  close(what: string, got: Numbers, expected: Numbers, tolerance: number): void {
    this.within(what, got, expected, tolerance, norm(expected));
  }

  /** ‖got − expected‖ / scale */
  within(what: string, got: Numbers, expected: Numbers, tolerance: number, scale: number): void {
    if (got.length !== expected.length) {
      this.fail(`${what}: expected ${expected.length} numbers, got ${got.length}`);
      return;
    }
    const distance = norm(Float64Array.from(got, (value, i) => value - expected[i]));
    const error = distance === 0 ? 0 : distance / scale;
    if (isWorse(error, this.worst.error)) this.worst = { error, what };
    if (!(error <= tolerance)) {
      this.fail(`${what}: relative error ${error.toExponential(2)}, allowed ${tolerance}`);
    }
  }

  /** Numbers that follow from sizes alone. */
  exact(what: string, got: Numbers, expected: Numbers): void {
    this.close(what, got, expected, EXACT);
  }

  /** Integers, names, shapes. */
  same(what: string, got: unknown, expected: unknown): void {
    const [g, e] = [JSON.stringify(got), JSON.stringify(expected)];
    if (g !== e) this.fail(`${what}: expected ${e}, got ${g}`);
  }

  fail(message: string): void {
    this.failures.push(message);
  }
}

/** Whether an error is worse than the worst so far. NaN is the worst of all, and stays it. */
export function isWorse(error: number, worst: number): boolean {
  return !Number.isNaN(worst) && !(error <= worst);
}

/** Euclidean norm, in double precision. */
export function norm(values: Numbers): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] ** 2;
  return Math.sqrt(sum);
}
