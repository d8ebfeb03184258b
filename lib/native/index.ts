export type { NativeBackendInfo, NativeBinding, NativeDevice, NativeMemory } from './binding';
export { loadBinding, native } from './load';
export { Binary, Compute, Distribution, Reduction, Unary } from './ops';
export type { NativeBuffer, NativeEinsumShape, NativeOps } from './ops';
