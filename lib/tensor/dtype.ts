/** Element types: 32-bit floats, and 32-bit integers for indices (which carry no gradient). */
export type DType = 'float32' | 'int32';

export const BYTES_PER_ELEMENT = 4;

export const INT32_MIN = -(2 ** 31);
export const INT32_MAX = 2 ** 31 - 1;
