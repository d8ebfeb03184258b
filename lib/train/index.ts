export { saveCheckpoint, loadCheckpoint, type Checkpoint, type Progress } from './checkpoint';
export {
  parseTrainConfig,
  resolveTrainConfig,
  scheduleOf,
  type TrainConfig,
  type TrainConfigInput,
  type TrainSettings,
} from './config';
export {
  describeBackends,
  describeEnvironment,
  packageVersion,
  type Environment,
} from './environment';
export { evaluate, type EvaluateOptions } from './evaluate';
export { readMetrics, type Metrics } from './metrics';
export { RunFolder } from './runFolder';
export {
  readSafetensors,
  readSafetensorsHeader,
  readSafetensorsSync,
  writeSafetensors,
  type SafetensorsDType,
  type SafetensorsFile,
  type SafetensorsHeader,
  type SafetensorsTensor,
} from './safetensors';
export { chooseToken, sampleTokens, type SampleOptions } from './sample';
export { train, type Spent, type TrainOptions, type TrainResult } from './train';
