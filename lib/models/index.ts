export {
  GPT,
  GPT2,
  GPTBlock,
  resolveGPTConfig,
  type GPTConfig,
  type GPTLayerName,
  type MacsPerToken,
  type ModelLoss,
  type ModelOptions,
  type ResolvedGPTConfig,
} from './gpt';
export { FeedForward, type FeedForwardOptions } from './feedForward';
export {
  MLP,
  MLPBlock,
  resolveMLPConfig,
  type MLPConfig,
  type MLPLoss,
  type ResolvedMLPConfig,
} from './mlp';
export {
  exportPaper,
  fromPaper,
  importPaper,
  linearEntries,
  paperEntries,
  sameLayout,
  toPaper,
  type PaperEntry,
} from './paper';
export {
  PixelTransformer,
  PixelTransformerBlock,
  resolvePixelTransformerConfig,
  type PixelTransformerConfig,
  type ResolvedPixelTransformerConfig,
} from './pixelTransformer';
