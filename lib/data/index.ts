export {
  CHARACTERS,
  CHARACTER_COUNT,
  NEWLINE_ID,
  decodeCharacters,
  encodeCharacters,
} from './vocabulary';
export {
  TokenFile,
  hasTokenFiles,
  openTokenData,
  readTokenMeta,
  tokenDType,
  tokenPath,
  type Split,
  type TokenData,
  type TokenDType,
  type TokenMeta,
} from './tokenFile';
export {
  BatchSampler,
  checkRows,
  evaluationBatches,
  type Batch,
  type BatchSize,
  type SamplerState,
} from './batchSampler';
export { DATASETS, datasetFolder, isDatasetName } from './datasets';
export { prepareText, type PrepareOptions, type PrepareResult } from './prepare';
export { uniformAt } from './philox';
