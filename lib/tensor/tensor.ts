/// <reference lib="esnext.disposable" />
import { requireArray } from '../checks';
import { EinlinearError } from '../errors';
import type { NativeBuffer } from '../native';
import type { Device } from './device';
import type { DType } from './dtype';
import { BYTES_PER_ELEMENT } from './dtype';
import { isGradEnabled } from './gradMode';
import type { Scope } from './scope';
import { enterScope, leaveScope, unscoped } from './scope';
import type { Storage } from './storage';
import type { BackwardRule, Edge } from './tape';
import { GradNode, addInto, runBackward } from './tape';
import { withWorkspace } from './workspace';

/** Smallest and largest value of an int32 tensor. */
export interface ValueRange {
  readonly min: number;
  readonly max: number;
}

export interface TensorInit {
  dtype?: DType;
  requiresGrad?: boolean;
  range?: ValueRange | null;
}

/** Where backward puts the gradient of a tensor the user made. */
class LeafNode extends GradNode {
  constructor(private tensor: Tensor | null) {
    super('leaf', 0, [], [], null);
  }

  override consume(): void {
    // Gradients went into the tensor as they came; the leaf serves the next graph too.
  }

  override receive(_output: number, gradient: Storage): void {
    if (this.tensor === null) gradient.release();
    else this.tensor.accumulateGrad(gradient);
  }

  override exclusive(): Storage | null {
    const grad = this.tensor?.grad ?? null;
    return grad?.storage.references === 1 ? grad.storage : null;
  }

  /** The tensor was disposed: nobody wants its gradient. */
  forget(): void {
    this.tensor = null;
  }
}

/**
 * A contiguous, row-major array on a device. It owns device memory until it is disposed, by hand,
 * by `using`, or by the `tidy` it was created in.
 *
 * Functions on tensors, which are methods as well, return new tensors and throw EinlinearError at
 * the call for wrong shapes, dtypes or devices (SHAPE_MISMATCH, DTYPE_MISMATCH, DEVICE_MISMATCH,
 * OUT_OF_RANGE, INVALID_ARGUMENT) and for disposed tensors (DISPOSED). They are queued on the device
 * and run after the call has returned.
 */
export class Tensor {
  /** Size of each axis; `[]` for a single number. */
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly device: Device;
  /** Number of elements. */
  readonly size: number;
  /** For messages; set by whoever gives the tensor a role, such as a parameter. */
  name: string | null = null;
  /** What the values lie within, where the host knows it (int32 only). For internal use. */
  range: ValueRange | null;
  /** The tidy scope that will dispose this tensor. For internal use. */
  scope: Scope | null = null;

  /** Disposes the tensor at the end of a `using` block. */
  declare readonly [Symbol.dispose]: () => void;

  private memory: Storage;
  private disposed = false;
  private gradient: Tensor | null = null;
  private wantsGrad: boolean;
  private leaf: LeafNode | null = null;
  private edge: Edge | null = null;

  /**
   * Takes ownership of one reference to `storage`, whose size is the product of `shape`. Use
   * `tensor`, `zeros` and the like instead.
   */
  constructor(storage: Storage, shape: readonly number[], init: TensorInit = {}) {
    this.memory = storage;
    this.shape = Object.freeze([...shape]);
    this.dtype = init.dtype ?? 'float32';
    this.device = storage.device;
    this.size = storage.size;
    this.range = init.range ?? null;
    this.wantsGrad = init.requiresGrad ?? false;
    this.device.track(1);
    enterScope(this);
  }

  /** Number of axes. */
  get ndim(): number {
    return this.shape.length;
  }

  /** How messages call this tensor. */
  get label(): string {
    return this.name === null ? 'a tensor' : `the tensor '${this.name}'`;
  }

  get isDisposed(): boolean {
    return this.disposed;
  }

  /** Whether this tensor was made by the user, not by a recorded op. */
  get isLeaf(): boolean {
    return this.edge === null;
  }

  /**
   * Whether backward computes a gradient for this tensor. It can be set on leaves of dtype float32.
   */
  get requiresGrad(): boolean {
    return this.wantsGrad || this.edge !== null;
  }

  set requiresGrad(value: boolean) {
    if (value && this.dtype !== 'float32') {
      throw new EinlinearError(
        'DTYPE_MISMATCH',
        `Expected a tensor that requires a gradient to be of dtype float32, got ${this.dtype}`,
      );
    }
    if (this.edge !== null) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        'Expected requiresGrad to be set on a leaf, got the result of an op; detach() it first',
      );
    }
    this.wantsGrad = value;
    if (!value) this.forgetLeaf();
  }

  /**
   * The gradient that backward accumulated here, of the same shape; null before. It belongs to this
   * tensor and lives outside every tidy. Assigning disposes the former one and takes the new one.
   */
  get grad(): Tensor | null {
    return this.gradient;
  }

  set grad(value: Tensor | null) {
    if (value === this.gradient) return;
    if (value !== null) {
      value.requireLive();
      if (
        value.dtype !== 'float32' ||
        value.shape.length !== this.shape.length ||
        value.shape.some((size, i) => size !== this.shape[i])
      ) {
        throw new EinlinearError(
          'SHAPE_MISMATCH',
          `Expected grad to be float32 of shape [${this.shape.join(', ')}], got ${value.dtype} of shape [${value.shape.join(', ')}]`,
        );
      }
      if (value.device !== this.device) {
        throw new EinlinearError(
          'DEVICE_MISMATCH',
          'Expected grad to be on the device of its tensor',
        );
      }
      leaveScope(value);
    }
    this.gradient?.dispose();
    this.gradient = value;
  }

  /** Disposes the gradient. */
  zeroGrad(): void {
    this.grad = null;
  }

  /** The memory behind this tensor; for modules that work on raw buffers. */
  get storage(): Storage {
    this.requireLive();
    return this.memory;
  }

  /** The native buffer behind this tensor, to be passed to `device.ops`. */
  get buffer(): NativeBuffer {
    return this.storage.buffer;
  }

  /**
   * The values, once every op before has run. The event loop stays free meanwhile.
   *
   * @returns a fresh array in row-major order
   * @throws (rejects with) DISPOSED, or the error of an op that failed while running
   */
  async data(): Promise<Float32Array | Int32Array> {
    const target = this.hostArray();
    await this.device.native.download(this.buffer, 0, target);
    return target;
  }

  /** As {@link data}, blocking the thread. */
  dataSync(): Float32Array | Int32Array {
    const target = this.hostArray();
    this.device.native.downloadSync(this.buffer, 0, target);
    return target;
  }

  /**
   * The value of a tensor of one element; blocks the thread.
   *
   * @throws SHAPE_MISMATCH for another number of elements
   */
  item(): number {
    this.requireLive();
    if (this.size !== 1) {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected a tensor of one element, got one of shape [${this.shape.join(', ')}]`,
        { shape: this.shape },
      );
    }
    return this.dataSync()[0];
  }

  /**
   * Overwrites the values in place with those of a tensor of the same shape and dtype, or of an
   * array of as many numbers. Not recorded; the memory may be shared with views and saved for
   * backward, so write only to parameters, between steps.
   *
   * @throws SHAPE_MISMATCH, DTYPE_MISMATCH; OUT_OF_RANGE for a number that an int32 cannot hold;
   *   INVALID_ARGUMENT for what is neither; DISPOSED
   */
  copyFrom(source: Tensor | Float32Array | Int32Array | readonly number[]): this {
    this.requireLive();
    this.memory.known = null;
    if (source instanceof Tensor) {
      source.requireLive();
      if (source.dtype !== this.dtype) {
        throw new EinlinearError(
          'DTYPE_MISMATCH',
          `Expected the source to be of dtype ${this.dtype}, got ${source.dtype}`,
        );
      }
      if (source.shape.join() !== this.shape.join()) {
        throw new EinlinearError(
          'SHAPE_MISMATCH',
          `Expected the source to have shape [${this.shape.join(', ')}], got [${source.shape.join(', ')}]`,
        );
      }
      if (source.device === this.device) {
        if (source.memory !== this.memory) {
          this.device.ops.stridedCopy(
            [this.size],
            [1],
            0,
            [1],
            0,
            false,
            source.buffer,
            this.buffer,
          );
        }
        this.range = source.range;
        return this;
      }
      return this.copyFrom(source.dataSync());
    }
    if (!ArrayBuffer.isView(source)) requireArray('the source', source);
    if (source.length !== this.size) {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected ${this.size} values for shape [${this.shape.join(', ')}], got ${source.length}`,
      );
    }
    if (this.dtype === 'float32') {
      // The upload takes a copy before it returns, but knows no memory shared between threads.
      const ready = source instanceof Float32Array && source.buffer instanceof ArrayBuffer;
      this.device.native.upload(this.buffer, ready ? source : new Float32Array(source), 0);
    } else {
      const values = new Int32Array(source);
      for (let i = 0; i < values.length; i++) {
        if (values[i] === source[i]) continue;
        throw new EinlinearError('OUT_OF_RANGE', 'Expected whole numbers that fit 32 bits');
      }
      this.range = rangeOf(values);
      this.device.native.upload(this.buffer, values, 0);
    }
    return this;
  }

  /**
   * Computes the gradients of this tensor with respect to every leaf that requires one and adds
   * them to the leaves' `grad`. Everything the graph saved is freed on the way, so it works once.
   *
   * @param gradient of the quantity of interest with respect to this tensor, of the same shape;
   *   may be left out for a single element (then 1)
   * @throws INVALID_ARGUMENT when nothing here requires a gradient; SHAPE_MISMATCH; DISPOSED when
   *   backward has already passed through part of the graph
   */
  backward(gradient?: Tensor): void {
    this.requireLive();
    const edge = this.edgeForBackward();
    if (edge === null) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        'Expected a tensor that depends on one with requiresGrad, got one that does not',
      );
    }
    if (gradient === undefined) {
      if (this.size !== 1) {
        throw new EinlinearError(
          'SHAPE_MISMATCH',
          `Expected a gradient for a tensor of more than one element (shape [${this.shape.join(', ')}]), got none`,
          { shape: this.shape },
        );
      }
      const ones = withWorkspace(this.device, (workspace) => {
        const storage = workspace.allocate(1);
        this.device.ops.fill(1, 1, storage.buffer);
        return workspace.take(storage);
      });
      runBackward(edge, ones);
      return;
    }
    gradient.requireLive();
    if (gradient.shape.join() !== this.shape.join() || gradient.dtype !== 'float32') {
      throw new EinlinearError(
        'SHAPE_MISMATCH',
        `Expected the gradient to be float32 of shape [${this.shape.join(', ')}], got ${gradient.dtype} of shape [${gradient.shape.join(', ')}]`,
        { expected: this.shape, shape: gradient.shape },
      );
    }
    if (gradient.device !== this.device) {
      throw new EinlinearError(
        'DEVICE_MISMATCH',
        'Expected the gradient to be on the device of the tensor, got one on another device',
      );
    }
    runBackward(edge, gradient.storage.retain());
  }

  /** The same values and memory as a leaf without gradient. */
  detach(): Tensor {
    return new Tensor(this.storage.retain(), this.shape, { dtype: this.dtype, range: this.range });
  }

  /** Takes this tensor out of the tidy it was created in; its owner disposes it. */
  keep(): this {
    this.requireLive();
    leaveScope(this);
    return this;
  }

  /** Gives up this handle, and its gradient. Memory that the tape or a view still needs stays. Idempotent. */
  dispose(): void {
    if (this.disposed) return;
    this.disposed = true;
    leaveScope(this);
    this.forgetLeaf();
    this.gradient?.dispose();
    this.gradient = null;
    this.edge?.node.drop();
    this.edge = null;
    this.device.track(-1);
    this.memory.release();
  }

  toString(): string {
    return `Tensor(${this.dtype}, [${this.shape.join(', ')}]${this.disposed ? ', disposed' : ''})`;
  }

  /** Throws DISPOSED for a tensor that was disposed. */
  requireLive(): void {
    if (!this.disposed) return;
    throw new EinlinearError(
      'DISPOSED',
      `Expected a live tensor, got ${this.label} of shape [${this.shape.join(', ')}] that was disposed`,
      { shape: this.shape },
    );
  }

  /** Adds a gradient, of which the caller gives its reference away. For internal use. */
  accumulateGrad(gradient: Storage): void {
    if (this.gradient !== null) {
      this.gradient.memory = addInto(this.gradient.memory, gradient);
      return;
    }
    let own = gradient;
    if (gradient.references > 1) {
      try {
        own = withWorkspace(this.device, (workspace) => {
          const copy = workspace.allocate(gradient.size);
          this.device.ops.affine(gradient.size, 1, 0, gradient.buffer, copy.buffer);
          return workspace.take(copy);
        });
      } finally {
        gradient.release();
      }
    }
    this.gradient = unscoped(() => new Tensor(own, this.shape));
  }

  /** Where the gradient of this tensor goes, or null when it needs none. For internal use. */
  gradientEdge(): Edge | null {
    return isGradEnabled() ? this.edgeForBackward() : null;
  }

  /** Makes this tensor an output of a recorded op. For internal use. */
  attach(edge: Edge): void {
    edge.node.hold();
    this.edge = edge;
  }

  private edgeForBackward(): Edge | null {
    if (this.edge !== null) return this.edge;
    if (!this.wantsGrad) return null;
    this.leaf ??= new LeafNode(this);
    return { node: this.leaf, output: 0 };
  }

  private forgetLeaf(): void {
    this.leaf?.forget();
    this.leaf = null;
  }

  private hostArray(): Float32Array | Int32Array {
    this.requireLive();
    const bytes = new ArrayBuffer(this.size * BYTES_PER_ELEMENT);
    return this.dtype === 'float32' ? new Float32Array(bytes) : new Int32Array(bytes);
  }
}

// Older runtimes and sandboxes lack the symbol; there `using` does not work either.
const { dispose } = Symbol as { dispose?: typeof Symbol.dispose };
if (dispose !== undefined) {
  Object.defineProperty(Tensor.prototype, dispose, {
    value(this: Tensor): void {
      this.dispose();
    },
    configurable: true,
    writable: true,
  });
}

/** Smallest and largest value; null for an empty array. */
export function rangeOf(values: Int32Array): ValueRange | null {
  if (values.length === 0) return null;
  let min = values[0];
  let max = min;
  for (const value of values) {
    if (value < min) min = value;
    else if (value > max) max = value;
  }
  return { min, max };
}

/**
 * Records an op for backward, if recording is on and an input requires a gradient.
 *
 * @param outputs results the gradients of which `rule` receives, in this order
 * @param inputs tensors the gradients of which `rule` computes; null where there is none
 * @param saved what `rule` reads of storages; nulls are skipped
 */
export function record(
  name: string,
  outputs: readonly Tensor[],
  inputs: readonly (Tensor | null)[],
  saved: readonly (Storage | null)[],
  rule: BackwardRule,
): void {
  const edges = inputs.map((input) => input?.gradientEdge() ?? null);
  if (edges.every((edge) => edge === null)) return;
  const node = new GradNode(
    name,
    outputs.length,
    edges,
    saved.filter((storage) => storage !== null),
    rule,
    outputs[0]?.device.compute,
  );
  outputs.forEach((tensor, output) => tensor.attach({ node, output }));
}

/** Whether any of these will get a gradient, so that backward needs what the op saves. */
export function needsGrad(...inputs: readonly (Tensor | null)[]): boolean {
  return isGradEnabled() && inputs.some((input) => input?.requiresGrad === true);
}
