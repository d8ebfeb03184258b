export { renderPlot, savePlot, type PlotFiles, type RenderedPlot } from './render';
export {
  PALETTE,
  lossComputePlot,
  type LossComputeOptions,
  type LossPoint,
  type LossSeries,
} from './lossCompute';
