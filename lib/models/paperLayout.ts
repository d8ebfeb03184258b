import type { Parameter } from '../nn';
import { coalesce, rowMajor, sizeOf } from '../tensor/strides';

/**
 * How one tensor of the published PyTorch code relates to one of our parameters: the parameter (or one expert's part of
 * it), viewed with the sizes `view`, has its axes permuted by `permutation` and then merged into `shape`.
 */
export interface PaperEntry {
  /** Name in the published code's state dict. */
  readonly paper: string;
  /** Second name of the same tensor there, where it has one. */
  readonly alias?: string;
  /** Shape there. */
  readonly shape: readonly number[];
  readonly parameter: Parameter;
  /** Which expert's part of a stacked parameter this is; null for a whole parameter. */
  readonly expert: number | null;
  readonly view: readonly number[];
  readonly permutation: readonly number[];
}

/**
 * The entry's tensor in the published layout.
 *
 * @param values of the whole parameter, in our layout
 */
export function toPaper(entry: PaperEntry, values: Float32Array): Float32Array {
  const target = new Float32Array(sizeOf(entry.view));
  forEachRun(entry, (ours, theirs, length, step) => {
    if (step === 1) {
      target.set(values.subarray(ours, ours + length), theirs);
      return;
    }
    for (let i = 0; i < length; i++) target[theirs + i] = values[ours + i * step];
  });
  return target;
}

/**
 * Writes the entry's tensor into the parameter's values.
 *
 * @param source in the published layout
 * @param values of the whole parameter, in our layout; changed
 */
export function fromPaper(entry: PaperEntry, source: Float32Array, values: Float32Array): void {
  forEachRun(entry, (ours, theirs, length, step) => {
    if (step === 1) {
      values.set(source.subarray(theirs, theirs + length), ours);
      return;
    }
    for (let i = 0; i < length; i++) values[ours + i * step] = source[theirs + i];
  });
}

/**
 * Calls back with every run of `length` elements that are neighbours in the published layout and `step` apart in ours:
 * its offset in our parameter, and in the published tensor.
 */
function forEachRun(
  { view, permutation, expert }: PaperEntry,
  visit: (ours: number, theirs: number, length: number, step: number) => void,
): void {
  const strides = rowMajor(view);
  const walk = coalesce(
    permutation.map((axis) => view[axis]),
    [permutation.map((axis) => strides[axis])],
  );
  const outer = walk.shape.slice(0, -1);
  const steps = walk.strides[0];
  const [length, step] = [walk.shape.at(-1) ?? 1, steps.at(-1) ?? 1];
  const index = outer.map(() => 0);
  const size = sizeOf(view);
  let ours = (expert ?? 0) * size;
  for (let theirs = 0; theirs < size; theirs += length) {
    visit(ours, theirs, length, step);
    for (let axis = outer.length - 1; axis >= 0; axis--) {
      index[axis] += 1;
      ours += steps[axis];
      if (index[axis] < outer[axis]) break;
      ours -= steps[axis] * outer[axis];
      index[axis] = 0;
    }
  }
}

/** A parameter that is laid out alike on both sides. */
export function sameLayout(
  paper: string,
  parameter: Parameter,
  shape: readonly number[] = parameter.shape,
): PaperEntry {
  const view = [parameter.size];
  return { paper, shape, parameter, expert: null, view, permutation: [0] };
}

/** A matrix that is [dOut, dIn] here and [dIn, dOut] there; of a stacked parameter, one expert's. */
export function transposed(
  paper: string,
  parameter: Parameter,
  expert: number | null = null,
): PaperEntry {
  const [dOut, dIn] = parameter.shape.slice(-2) as [number, number];
  const shape = [dIn, dOut];
  return { paper, shape, parameter, expert, view: [dOut, dIn], permutation: [1, 0] };
}
