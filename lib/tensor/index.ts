export type { TensorMethods } from './methods';
import './methods';

export type { DType } from './dtype';
export { Device, defaultDevice, device, memory, setDefaultDevice } from './device';
export type { Compute, DeviceName, DeviceOptions, MemoryInfo } from './device';
export { preferredDevice } from './device';
export type { PreferredDevice } from './device';
export { autocast } from './autocast';
export { Storage } from './storage';
export { Tensor } from './tensor';
export type { ValueRange } from './tensor';
export { tidy } from './scope';
export { isGradEnabled, noGrad } from './gradMode';
export { Generator, defaultGenerator, manualSeed } from './random';
export type { GeneratorState } from './random';
export { arange, full, ones, onesLike, rand, randn, tensor, zeros, zerosLike } from './create';
export type {
  CreateOptions,
  NestedNumbers,
  NumericArray,
  RandomOptions,
  TensorData,
  TensorOptions,
} from './create';
export {
  abs,
  add,
  div,
  equal,
  exp,
  gelu,
  greater,
  log,
  maximum,
  minimum,
  mul,
  neg,
  reciprocal,
  relu,
  sigmoid,
  sqrt,
  square,
  sub,
  tanh,
} from './elementwise';
export type { GeluOptions, Operand } from './elementwise';
export { max, mean, min, sum } from './reduce';
export type { Dims } from './reduce';
export { matmul } from './matmul';
export { concat, expand, pad, permute, reshape, slice, transpose } from './shape';
export { logSoftmax, softmax } from './softmax';
export { dropout } from './dropout';
export type { DropoutOptions } from './dropout';
export { linear } from './linear';
export { layerNorm } from './layerNorm';
export { embedding } from './embedding';
export { attention } from './attention';
export type { AttentionOptions } from './attention';
export { crossEntropy, mseLoss } from './loss';
export type { CrossEntropyOptions } from './loss';
export { einsum2 } from './einsum';
export { normalizeWeight } from './normalizeWeight';
export type { NormalizeOptions } from './normalizeWeight';
export { bttMoe } from './bttMoe';
export type { Choices } from './bttMoe';
export { groupedLinear, moeCombine, moeDispatch, moeRoute } from './moe';
export type { Dispatch, RouteOptions, Routing } from './moe';
