/** What went wrong, as a word that programs may compare. */
export type ErrorCode =
  | 'ABORTED'
  | 'BACKEND_UNAVAILABLE'
  | 'CHECKPOINT_MISMATCH'
  | 'CUDA_ERROR'
  | 'DEVICE_MISMATCH'
  | 'DISPOSED'
  | 'DTYPE_MISMATCH'
  | 'INTERNAL'
  | 'INVALID_ARGUMENT'
  | 'INVALID_FILE'
  | 'INVALID_FLAG'
  | 'INVALID_THETA'
  | 'IO'
  | 'NO_DATA'
  | 'NOT_FACTORABLE'
  | 'NOT_FINITE'
  | 'NOT_SUPPORTED'
  | 'OUT_OF_MEMORY'
  | 'OUT_OF_RANGE'
  | 'SHAPE_MISMATCH';

/** The one error class of the package; native code throws it too. */
export class EinlinearError extends Error {
  override readonly name = 'EinlinearError';
  /** What went wrong. */
  readonly code: ErrorCode;
  /** The values involved, by name. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(code: ErrorCode, message: string, details: Record<string, unknown> = {}) {
    super(message);
    this.code = code;
    this.details = details;
  }
}
