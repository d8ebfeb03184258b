export { EinlinearError, type ErrorCode } from './errors';
export * from './structure';
export * from './tensor';
export * as nn from './nn';
export * as optim from './optim';
export * from './models';
export * from './data';
export * from './train';
export * from './search';
