import { EinlinearError } from '../errors';
import { Tensor } from '../tensor';
import { describe, formatShape, sameShape } from '../tensor/checks';

/** Values of one tensor outside any device, as a checkpoint file holds them. */
export interface HostTensor {
  shape: readonly number[];
  /** In row-major order, as many as the shape says. */
  data: Float32Array;
}

/** Values by name, as `loadStateDict` and `importPaper` accept them: live float32 tensors or host data. */
export type StateDict = ReadonlyMap<string, Tensor | HostTensor>;

/** How the names of a state differ from those of what it is loaded into. */
export interface LoadReport {
  /** Names the module has and the state lacks. */
  missing: string[];
  /** Names the state has and the module lacks. */
  unexpected: string[];
}

/**
 * Checks a state before anything is changed by it.
 *
 * @param what what it is loaded into, for the message
 * @param shapes shape of every value by name
 * @param strict whether names must match exactly; otherwise only what both have is checked
 * @throws EinlinearError INVALID_ARGUMENT unless the state is a Map; CHECKPOINT_MISMATCH listing all missing and
 *   unexpected names, wrong shapes, and values that are not live float32 or not as many as their shape says
 */
export function checkState(
  what: string,
  shapes: ReadonlyMap<string, readonly number[]>,
  state: StateDict,
  strict = true,
): LoadReport {
  requireStateDict(state);
  const missing = [...shapes.keys()].filter((name) => !state.has(name));
  const unexpected = [...state.keys()].filter((name) => !shapes.has(name));
  const wrongShapes: { name: string; expected: number[]; got: number[] }[] = [];
  const wrongValues: { name: string; got: string }[] = [];
  for (const [name, expected] of shapes) {
    if (!state.has(name)) continue;
    const value: unknown = state.get(name);
    const wrong = wrongValue(value);
    if (wrong !== null) {
      wrongValues.push({ name, got: wrong });
      continue;
    }
    const { shape } = value as Tensor | HostTensor;
    if (!sameShape(shape, expected)) {
      wrongShapes.push({ name, expected: [...expected], got: [...shape] });
    }
  }
  const names = strict ? [...missing, ...unexpected] : [];
  if (names.length + wrongShapes.length + wrongValues.length > 0) {
    const problems = [
      missing.length > 0 && strict ? `missing: ${missing.join(', ')}` : '',
      unexpected.length > 0 && strict ? `unexpected: ${unexpected.join(', ')}` : '',
      ...wrongShapes.map(
        ({ name, expected, got }) =>
          `${name} expected shape ${formatShape(expected)}, got ${formatShape(got)}`,
      ),
      ...wrongValues.map(({ name, got }) => `${name} expected live float32 values, got ${got}`),
    ].filter((problem) => problem !== '');
    throw new EinlinearError(
      'CHECKPOINT_MISMATCH',
      `Expected the state to match ${what}; ${problems.join('; ')}`,
      { missing, unexpected, wrongShapes, wrongValues },
    );
  }
  return { missing, unexpected };
}

/** @throws EinlinearError INVALID_ARGUMENT unless the state is a Map */
export function requireStateDict(state: unknown): asserts state is StateDict {
  if (state instanceof Map) return;
  throw new EinlinearError(
    'INVALID_ARGUMENT',
    `Expected the state to be a Map from name to tensor, as stateDict() gives, got ${describe(state)}`,
    { type: typeof state },
  );
}

/**
 * Copies a state into tensors of the same names, after {@link checkState} has passed it.
 *
 * @throws EinlinearError as checkState does; DISPOSED if one of the tensors was disposed
 */
export function loadTensors(
  what: string,
  targets: ReadonlyMap<string, Tensor>,
  state: StateDict,
  strict = true,
): LoadReport {
  for (const target of targets.values()) target.requireLive();
  const shapes = new Map([...targets].map(([name, { shape }]) => [name, shape]));
  const report = checkState(what, shapes, state, strict);
  for (const [name, target] of targets) {
    const value = state.get(name);
    if (value !== undefined) target.copyFrom(value instanceof Tensor ? value : value.data);
  }
  return report;
}

/** What is wrong with a value, whatever shape it should have; null if nothing is. */
function wrongValue(value: unknown): string | null {
  if (value instanceof Tensor) {
    if (value.isDisposed) return 'a tensor that was disposed';
    return value.dtype === 'float32' ? null : `a tensor of dtype ${value.dtype}`;
  }
  const { shape, data } = Object(value) as Partial<Record<keyof HostTensor, unknown>>;
  if (!Array.isArray(shape) || !(data instanceof Float32Array)) return describe(value);
  const size = (shape as number[]).reduce((product, each) => product * each, 1);
  return data.length === size
    ? null
    : `${data.length} values for shape ${formatShape(shape as number[])}`;
}

/** The values on the host; those of a tensor are waited for. */
export function hostValues(value: Tensor | HostTensor): Float32Array {
  return value instanceof Tensor ? (value.dataSync() as Float32Array) : value.data;
}
