/**
 * The op table as TypeScript sees it: every operation a backend implements, with its positional
 * arguments in the order of `fields()` in native/core/ops.h, where shapes and meanings stand.
 *
 * Ops are queued on the device and return at once. Each checks that its buffers are large enough
 * and throws an EinlinearError at the call if not; what only shows while running (a token id out of
 * range) is kept by the device and reported by the next read.
 */

declare const nativeBuffer: unique symbol;

/** A block of device memory, opaque to JavaScript. It frees itself when collected. */
export interface NativeBuffer {
  readonly [nativeBuffer]: true;
}

/** How products may round their operands. */
export const Compute = { float32: 0, tf32: 1, bfloat16: 2 } as const;
export type Compute = (typeof Compute)[keyof typeof Compute];

export const Unary = {
  neg: 0,
  exp: 1,
  log: 2,
  sqrt: 3,
  square: 4,
  abs: 5,
  relu: 6,
  geluErf: 7,
  geluTanh: 8,
  tanh: 9,
  sigmoid: 10,
  reciprocal: 11,
} as const;
export type Unary = (typeof Unary)[keyof typeof Unary];

export const Binary = {
  add: 0,
  sub: 1,
  mul: 2,
  div: 3,
  maximum: 4,
  minimum: 5,
  greater: 6,
  equal: 7,
} as const;
export type Binary = (typeof Binary)[keyof typeof Binary];

export const Reduction = { sum: 0, mean: 1, max: 2, min: 3 } as const;
export type Reduction = (typeof Reduction)[keyof typeof Reduction];

export const Distribution = { uniform: 0, normal: 1 } as const;
export type Distribution = (typeof Distribution)[keyof typeof Distribution];

/** dIn, dOut, alpha, beta, gamma, delta, epsilon, phi, rho */
export type NativeEinsumShape = readonly [
  dIn: number,
  dOut: number,
  alpha: number,
  beta: number,
  gamma: number,
  delta: number,
  epsilon: number,
  phi: number,
  rho: number,
];

type Dims = readonly number[];
type Buffer = NativeBuffer;
type OptionalBuffer = NativeBuffer | null;

export interface NativeOps {
  // ---- memory ----
  fill(count: number, value: number, y: Buffer): void;
  stridedCopy(
    shape: Dims,
    srcStrides: Dims,
    srcOffset: number,
    dstStrides: Dims,
    dstOffset: number,
    accumulate: boolean,
    src: Buffer,
    dst: Buffer,
  ): void;

  // ---- elementwise ----
  unary(kind: Unary, count: number, x: Buffer, y: Buffer): void;
  unaryBackward(kind: Unary, count: number, x: Buffer, dy: Buffer, dx: Buffer): void;
  binary(
    kind: Binary,
    shape: Dims,
    aStrides: Dims,
    bStrides: Dims,
    a: Buffer,
    b: Buffer,
    y: Buffer,
  ): void;
  affine(count: number, scale: number, shift: number, x: Buffer, y: Buffer): void;
  axpy(count: number, alpha: number, x: Buffer, y: Buffer): void;

  // ---- random ----
  random(
    kind: Distribution,
    count: number,
    seed: number,
    offset: number,
    a: number,
    b: number,
    y: Buffer,
  ): void;
  dropout(count: number, p: number, seed: number, offset: number, x: Buffer, y: Buffer): void;

  // ---- reductions and rows ----
  reduce(kind: Reduction, outer: number, length: number, inner: number, x: Buffer, y: Buffer): void;
  softmax(rows: number, cols: number, log: boolean, x: Buffer, y: Buffer): void;
  softmaxBackward(
    rows: number,
    cols: number,
    log: boolean,
    y: Buffer,
    dy: Buffer,
    dx: Buffer,
  ): void;
  layerNorm(
    rows: number,
    cols: number,
    eps: number,
    x: Buffer,
    gain: OptionalBuffer,
    bias: OptionalBuffer,
    y: Buffer,
    mean: Buffer,
    rstd: Buffer,
  ): void;
  layerNormBackward(
    rows: number,
    cols: number,
    x: Buffer,
    gain: OptionalBuffer,
    mean: Buffer,
    rstd: Buffer,
    dy: Buffer,
    dx: Buffer,
    dgain: OptionalBuffer,
    dbias: OptionalBuffer,
  ): void;
  embedding(
    tokens: number,
    vocab: number,
    width: number,
    ids: Buffer,
    table: Buffer,
    y: Buffer,
  ): void;
  embeddingBackward(
    tokens: number,
    vocab: number,
    width: number,
    ids: Buffer,
    dy: Buffer,
    dtable: Buffer,
  ): void;
  crossEntropy(
    rows: number,
    classes: number,
    ignoreIndex: number,
    logits: Buffer,
    targets: Buffer,
    loss: Buffer,
    lse: Buffer,
    counted: Buffer,
  ): void;
  crossEntropyBackward(
    rows: number,
    classes: number,
    ignoreIndex: number,
    logits: Buffer,
    targets: Buffer,
    lse: Buffer,
    counted: Buffer,
    dloss: Buffer,
    dlogits: Buffer,
  ): void;

  // ---- products ----
  matmul(
    batch: number,
    m: number,
    n: number,
    k: number,
    transA: boolean,
    transB: boolean,
    accumulate: boolean,
    aStride: number,
    bStride: number,
    a: Buffer,
    b: Buffer,
    bias: OptionalBuffer,
    c: Buffer,
  ): void;
  einsum(
    shape: NativeEinsumShape,
    tokens: number,
    x: Buffer,
    a: Buffer,
    b: Buffer,
    bias: OptionalBuffer,
    y: Buffer,
  ): void;
  einsumBackward(
    shape: NativeEinsumShape,
    tokens: number,
    x: Buffer,
    a: Buffer,
    b: Buffer,
    dy: Buffer,
    dx: OptionalBuffer,
    da: OptionalBuffer,
    db: OptionalBuffer,
    dbias: OptionalBuffer,
  ): void;
  normalizeWeight(
    count: number,
    rms0: number,
    eps: number,
    w: Buffer,
    gain: OptionalBuffer,
    y: Buffer,
    rms: Buffer,
  ): void;
  normalizeWeightBackward(
    count: number,
    rms0: number,
    eps: number,
    w: Buffer,
    gain: OptionalBuffer,
    rms: Buffer,
    dy: Buffer,
    dw: Buffer,
    dgain: OptionalBuffer,
  ): void;
  attention(
    batch: number,
    time: number,
    heads: number,
    headDim: number,
    scale: number,
    causal: boolean,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    lse: Buffer,
  ): void;
  attentionBackward(
    batch: number,
    time: number,
    heads: number,
    headDim: number,
    scale: number,
    causal: boolean,
    q: Buffer,
    k: Buffer,
    v: Buffer,
    o: Buffer,
    lse: Buffer,
    dout: Buffer,
    dq: Buffer,
    dk: Buffer,
    dv: Buffer,
  ): void;

  // ---- mixture of experts ----
  moeRoute(
    tokens: number,
    experts: number,
    k: number,
    weightEpsilon: number,
    logits: Buffer,
    index: Buffer,
    weight: Buffer,
    probs: Buffer,
    lse: Buffer,
    usage: Buffer,
    aux: Buffer,
    perplexity: Buffer,
  ): void;
  moeRouteBackward(
    tokens: number,
    experts: number,
    k: number,
    weightEpsilon: number,
    index: Buffer,
    weight: Buffer,
    probs: Buffer,
    lse: Buffer,
    usage: Buffer,
    dweight: OptionalBuffer,
    daux: OptionalBuffer,
    dlogits: Buffer,
  ): void;
  bttMoe(
    shape: NativeEinsumShape,
    tokens: number,
    k: number,
    x: Buffer,
    a: Buffer,
    b: Buffer,
    index: Buffer,
    weight: Buffer,
    bias: OptionalBuffer,
    y: Buffer,
  ): void;
  bttMoeBackward(
    shape: NativeEinsumShape,
    tokens: number,
    k: number,
    x: Buffer,
    a: Buffer,
    b: Buffer,
    index: Buffer,
    weight: Buffer,
    dy: Buffer,
    dx: OptionalBuffer,
    da: OptionalBuffer,
    db: OptionalBuffer,
    dweight: OptionalBuffer,
    dbias: OptionalBuffer,
  ): void;
  moeSort(
    tokens: number,
    k: number,
    experts: number,
    index: Buffer,
    order: Buffer,
    position: Buffer,
    offsets: Buffer,
  ): void;
  moeGather(tokens: number, k: number, cols: number, x: Buffer, order: Buffer, y: Buffer): void;
  moeCombine(
    tokens: number,
    k: number,
    cols: number,
    rows: Buffer,
    position: Buffer,
    weight: OptionalBuffer,
    y: Buffer,
  ): void;
  moeCombineBackward(
    tokens: number,
    k: number,
    cols: number,
    rows: Buffer,
    position: Buffer,
    weight: Buffer,
    dy: Buffer,
    drows: Buffer,
    dweight: Buffer,
  ): void;
  groupedLinear(
    rows: number,
    experts: number,
    n: number,
    k: number,
    offsets: Buffer,
    x: Buffer,
    w: Buffer,
    bias: OptionalBuffer,
    y: Buffer,
  ): void;
  groupedLinearBackward(
    rows: number,
    experts: number,
    n: number,
    k: number,
    offsets: Buffer,
    x: Buffer,
    w: Buffer,
    dy: Buffer,
    dx: OptionalBuffer,
    dw: OptionalBuffer,
    dbias: OptionalBuffer,
  ): void;

  // ---- optimisers ----
  adam(
    count: number,
    lr: number,
    beta1: number,
    beta2: number,
    eps: number,
    decay: number,
    correction1: number,
    correction2: number,
    decoupled: boolean,
    g: Buffer,
    gradScale: OptionalBuffer,
    p: Buffer,
    m: Buffer,
    v: Buffer,
  ): void;
  sgd(
    count: number,
    lr: number,
    momentum: number,
    decay: number,
    nesterov: boolean,
    first: boolean,
    g: Buffer,
    gradScale: OptionalBuffer,
    p: Buffer,
    buf: OptionalBuffer,
  ): void;
  sumSquares(count: number, slot: number, x: Buffer, y: Buffer): void;
  clipScale(count: number, maxNorm: number, squares: Buffer, norm: Buffer, scale: Buffer): void;
}
