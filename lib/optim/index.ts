export { Adam, AdamW, type AdamOptions } from './adam';
export { clipGradNorm, type ClippedNorm } from './clipGradNorm';
export {
  Optimizer,
  type LoadableOptimizerState,
  type OptimizerState,
  type Slot,
  type StepOptions,
} from './optimizer';
export {
  parameterGroups,
  type ParameterGroup,
  type ParameterGroupsOptions,
  type SingleParameterGroup,
} from './parameterGroups';
export {
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  type DecayOptions,
  type Schedule,
  type WarmupOptions,
} from './schedule';
export { SGD, type SGDOptions } from './sgd';
