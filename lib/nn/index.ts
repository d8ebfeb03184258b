export { GELU, ReLU } from './activation';
export {
  CausalSelfAttention,
  type AttentionStructures,
  type CausalSelfAttentionOptions,
} from './attention';
export { BTTMoELinear, type BTTMoELinearOptions } from './bttMoELinear';
export { createLinear, type CreateLinearOptions } from './createLinear';
export { Dropout } from './dropout';
export { EinsumLinear, type EinsumLinearOptions, type FactorOptions } from './einsumLinear';
export { Embedding, type EmbeddingOptions } from './embedding';
export {
  auxLoss,
  Gate,
  gates,
  gateStatistics,
  type GateOptions,
  type GateStatistics,
  type Route,
} from './gate';
export { GroupedLinear, type GroupedLinearOptions } from './groupedLinear';
export { LayerNorm, type LayerNormOptions } from './layerNorm';
export { Linear, type LinearOptions } from './linear';
export { CrossEntropyLoss, MSELoss } from './loss';
export { LinearLayer, Module, UnaryModule } from './module';
export { MoE, type MoEOptions } from './moe';
export { MoELinear, type MoELinearOptions } from './moeLinear';
export {
  embeddingInfo,
  learningRateMultiplier,
  matrix,
  VECTOR,
  type OptimizerKind,
  type ParameterInfo,
} from './muP';
export {
  BTTLinear,
  KroneckerLinear,
  LowRankLinear,
  MonarchLinear,
  TensorTrainLinear,
  type BTTLinearOptions,
  type LowRankLinearOptions,
  type RoundedOptions,
  type TensorTrainLinearOptions,
} from './namedLinear';
export { allOrNothing, Parameter } from './parameter';
export { Sequential } from './sequential';
export type { HostTensor, LoadReport, StateDict } from './stateDict';
