export { BENCH_LAYERS, benchLayers } from './layers';
export type { BenchLayer, BenchOptions, BenchRow } from './layers';
export { Peer } from './peer';
export type { Pass, PeerCase } from './peer';
