import type { Parameter } from '../nn';

/**
 * How one tensor of the published PyTorch code relates to one of our parameters: the parameter (or one expert's part of
 * it), viewed with the sizes `view`, has its axes permuted by `permutation` and then merged into `shape`.
 */
export interface PaperEntry {
  /** Name in the published code's state dict. */
  readonly paper: string;
  /** Shape there. */
  readonly shape: readonly number[];
  readonly parameter: Parameter;
  /** Which expert's part of a stacked parameter this is; null for a whole parameter. */
  readonly expert: number | null;
  readonly view: readonly number[];
  readonly permutation: readonly number[];
}

/** Number of elements of the tensor. */
export function paperSize(entry: PaperEntry): number {
  return entry.view.reduce((product, size) => product * size, 1);
}

/**
 * The entry's tensor in the published layout.
 *
 * @param values of the whole parameter, in our layout
 */
export function toPaper(entry: PaperEntry, values: Float32Array): Float32Array {
  const size = paperSize(entry);
  const target = new Float32Array(size);
  const start = (entry.expert ?? 0) * size;
  forEachPair(entry, (ours, theirs) => {
    target[theirs] = values[start + ours];
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
  const start = (entry.expert ?? 0) * paperSize(entry);
  forEachPair(entry, (ours, theirs) => {
    values[start + ours] = source[theirs];
  });
}

/** Calls back with the offset of every element in both layouts, in the order of the published one. */
function forEachPair(entry: PaperEntry, visit: (ours: number, theirs: number) => void): void {
  const { view, permutation } = entry;
  const strides = view.map((_, i) =>
    view.slice(i + 1).reduce((product, size) => product * size, 1),
  );
  const sizes = permutation.map((axis) => view[axis]);
  const steps = permutation.map((axis) => strides[axis]);
  const index = sizes.map(() => 0);
  const count = paperSize(entry);
  let ours = 0;
  for (let theirs = 0; theirs < count; theirs++) {
    visit(ours, theirs);
    for (let axis = sizes.length - 1; axis >= 0; axis--) {
      index[axis] = index[axis] + 1;
      ours += steps[axis];
      if (index[axis] < sizes[axis]) break;
      ours -= steps[axis] * sizes[axis];
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
