import { EinlinearError } from '../errors';
import type { Binary as BinaryKind, Unary as UnaryKind } from '../native';
import { Binary, Unary } from '../native';
import type { Allocator } from './broadcast';
import { broadcastShapes, broadcastStrides, sumTo } from './broadcast';
import { requireFloat, requireSameDevice } from './checks';
import type { Storage } from './storage';
import { coalesce, sizeOf } from './strides';
import type { GradientSink } from './tape';
import { Tensor, needsGrad, record } from './tensor';
import { withWorkspace } from './workspace';

/** A float32 tensor, or a number that is repeated to the other operand's shape. */
export type Operand = Tensor | number;

// ---- of one tensor --------------------------------------------------------------------------------

function unary(name: string, kind: UnaryKind, x: Tensor): Tensor {
  requireFloat('x', x);
  const { device, size } = x;
  return withWorkspace(device, (workspace) => {
    const input = x.storage;
    const y = workspace.allocate(size);
    device.ops.unary(kind, size, input.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), x.shape);
    record(name, [result], [x], [input], ([dy], sink) => {
      const dx = sink.allocate(size);
      device.ops.unaryBackward(kind, size, input.buffer, dy!.buffer, dx.buffer);
      sink.add(0, dx);
    });
    return result;
  });
}

/** y = scale · x + shift */
function affine(name: string, x: Tensor, scale: number, shift: number): Tensor {
  requireFloat('x', x);
  const { device, size } = x;
  return withWorkspace(device, (workspace) => {
    const y = workspace.allocate(size);
    device.ops.affine(size, scale, shift, x.buffer, y.buffer);
    const result = new Tensor(workspace.take(y), x.shape);
    record(name, [result], [x], [], ([dy], sink) => {
      if (scale === 1) {
        sink.add(0, dy);
        return;
      }
      const dx = sink.allocate(size);
      device.ops.affine(size, scale, 0, dy!.buffer, dx.buffer);
      sink.add(0, dx);
    });
    return result;
  });
}

/** −x, elementwise; any shape. */
export function neg(x: Tensor): Tensor {
  return affine('neg', x, -1, 0);
}

/** e^x, elementwise; any shape. */
export function exp(x: Tensor): Tensor {
  return unary('exp', Unary.exp, x);
}

/** Natural logarithm, elementwise; −∞ at 0 and NaN below. */
export function log(x: Tensor): Tensor {
  return unary('log', Unary.log, x);
}

/** Square root, elementwise; NaN below 0. */
export function sqrt(x: Tensor): Tensor {
  return unary('sqrt', Unary.sqrt, x);
}

/** x², elementwise. */
export function square(x: Tensor): Tensor {
  return unary('square', Unary.square, x);
}

/** |x|, elementwise; its gradient at 0 is 0. */
export function abs(x: Tensor): Tensor {
  return unary('abs', Unary.abs, x);
}

/** max(x, 0), elementwise; its gradient at 0 is 0. */
export function relu(x: Tensor): Tensor {
  return unary('relu', Unary.relu, x);
}

/** Hyperbolic tangent, elementwise. */
export function tanh(x: Tensor): Tensor {
  return unary('tanh', Unary.tanh, x);
}

/** 1 / (1 + e^−x), elementwise. */
export function sigmoid(x: Tensor): Tensor {
  return unary('sigmoid', Unary.sigmoid, x);
}

/** 1 / x, elementwise. */
export function reciprocal(x: Tensor): Tensor {
  return unary('reciprocal', Unary.reciprocal, x);
}

export interface GeluOptions {
  /** 'none' (default): x·Φ(x) with the error function; 'tanh': the usual approximation. */
  approximate?: 'none' | 'tanh' | undefined;
}

/**
 * Gaussian error linear unit, elementwise.
 *
 * @throws INVALID_ARGUMENT for an unknown approximation
 */
export function gelu(x: Tensor, options: GeluOptions = {}): Tensor {
  const { approximate = 'none' } = options;
  switch (approximate) {
    case 'none':
      return unary('gelu', Unary.geluErf, x);
    case 'tanh':
      return unary('gelu', Unary.geluTanh, x);
    default:
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected approximate to be 'none' or 'tanh', got '${String(approximate)}'`,
      );
  }
}

// ---- of two tensors -------------------------------------------------------------------------------

/** An operand as the ops see it: a number is one element that is repeated. */
interface Values {
  storage: Storage;
  shape: readonly number[];
}

/** Runs a binary op on broadcast operands of raw memory. */
function launchBinary(
  kind: BinaryKind,
  shape: readonly number[],
  a: Values,
  b: Values,
  y: Storage,
): void {
  const walk = coalesce(shape, [
    broadcastStrides(a.shape, shape),
    broadcastStrides(b.shape, shape),
  ]);
  y.device.ops.binary(
    kind,
    walk.shape,
    walk.strides[0],
    walk.strides[1],
    a.storage.buffer,
    b.storage.buffer,
    y.buffer,
  );
}

/** The result of a binary op on raw memory, in memory of its own. */
export function binaryValues(
  kind: BinaryKind,
  shape: readonly number[],
  a: Values,
  b: Values,
  allocator: Allocator,
): Storage {
  const y = allocator.allocate(sizeOf(shape));
  launchBinary(kind, shape, a, b, y);
  return y;
}

interface BinaryBackward {
  shape: readonly number[];
  a: Values;
  b: Values;
  y: Values;
}

type BinaryRule = (dy: Values, values: BinaryBackward, sink: GradientSink) => void;

/**
 * @param saves which of a, b and y the rule reads for the gradient of a and of b
 */
function binary(
  name: string,
  kind: BinaryKind,
  a: Operand,
  b: Operand,
  saves: { forA: string; forB: string },
  rule: BinaryRule | null,
): Tensor {
  const tensorA = typeof a === 'number' ? null : a;
  const tensorB = typeof b === 'number' ? null : b;
  if (tensorA !== null) requireFloat('a', tensorA);
  if (tensorB !== null) requireFloat('b', tensorB);
  if (tensorA === null && tensorB === null) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected at least one operand of ${name} to be a Tensor, got two numbers`,
    );
  }
  const device = requireSameDevice({ a: tensorA, b: tensorB });
  const shape = broadcastShapes(['a', 'b'], tensorA?.shape ?? [], tensorB?.shape ?? []);
  return withWorkspace(device, (workspace) => {
    const valuesOf = (operand: Operand): Values => {
      if (typeof operand !== 'number') return { storage: operand.storage, shape: operand.shape };
      const storage = workspace.allocate(1);
      device.ops.fill(1, operand, storage.buffer);
      return { storage, shape: [] };
    };
    const valuesA = valuesOf(a);
    const valuesB = valuesOf(b);
    const y = binaryValues(kind, shape, valuesA, valuesB, workspace);
    const result = new Tensor(workspace.take(y), shape);
    if (rule !== null) {
      const used = (needsGrad(tensorA) ? saves.forA : '') + (needsGrad(tensorB) ? saves.forB : '');
      const values: BinaryBackward = {
        shape,
        a: valuesA,
        b: valuesB,
        y: { storage: y, shape },
      };
      record(
        name,
        [result],
        [tensorA, tensorB],
        [
          used.includes('a') ? valuesA.storage : null,
          used.includes('b') ? valuesB.storage : null,
          used.includes('y') ? y : null,
        ],
        ([dy], sink) => rule({ storage: dy!, shape }, values, sink),
      );
    }
    return result;
  });
}

function scaled(source: Storage, scale: number, allocator: Allocator): Storage {
  const result = allocator.allocate(source.size);
  source.device.ops.affine(source.size, scale, 0, source.buffer, result.buffer);
  return result;
}

/**
 * a + b with broadcasting.
 *
 * @throws SHAPE_MISMATCH when the shapes do not broadcast
 */
export function add(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number' && typeof a !== 'number') return affine('add', a, 1, b);
  if (typeof a === 'number' && typeof b !== 'number') return affine('add', b, 1, a);
  return binary('add', Binary.add, a, b, { forA: '', forB: '' }, (dy, { shape, a, b }, sink) => {
    if (sink.needs(0)) sink.add(0, sumTo(dy.storage, shape, a.shape, sink));
    if (sink.needs(1)) sink.add(1, sumTo(dy.storage, shape, b.shape, sink));
  });
}

/** a − b with broadcasting. */
export function sub(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number' && typeof a !== 'number') return affine('sub', a, 1, -b);
  if (typeof a === 'number' && typeof b !== 'number') return affine('sub', b, -1, a);
  return binary('sub', Binary.sub, a, b, { forA: '', forB: '' }, (dy, { shape, a, b }, sink) => {
    if (sink.needs(0)) sink.add(0, sumTo(dy.storage, shape, a.shape, sink));
    if (sink.needs(1)) sink.add(1, scaled(sumTo(dy.storage, shape, b.shape, sink), -1, sink));
  });
}

/** a · b, elementwise with broadcasting. */
export function mul(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number' && typeof a !== 'number') return affine('mul', a, b, 0);
  if (typeof a === 'number' && typeof b !== 'number') return affine('mul', b, a, 0);
  return binary('mul', Binary.mul, a, b, { forA: 'b', forB: 'a' }, (dy, { shape, a, b }, sink) => {
    if (sink.needs(0)) {
      sink.add(0, sumTo(binaryValues(Binary.mul, shape, dy, b, sink), shape, a.shape, sink));
    }
    if (sink.needs(1)) {
      sink.add(1, sumTo(binaryValues(Binary.mul, shape, dy, a, sink), shape, b.shape, sink));
    }
  });
}

/** a / b, elementwise with broadcasting. Division by a number multiplies by its reciprocal. */
export function div(a: Operand, b: Operand): Tensor {
  if (typeof b === 'number' && typeof a !== 'number') return affine('div', a, 1 / b, 0);
  return binary(
    'div',
    Binary.div,
    a,
    b,
    { forA: 'b', forB: 'by' },
    (dy, { shape, a, b, y }, sink) => {
      const quotient = binaryValues(Binary.div, shape, dy, b, sink);
      if (sink.needs(1)) {
        const product = binaryValues(Binary.mul, shape, { storage: quotient, shape }, y, sink);
        sink.add(1, scaled(sumTo(product, shape, b.shape, sink), -1, sink));
      }
      if (sink.needs(0)) sink.add(0, sumTo(quotient, shape, a.shape, sink));
    },
  );
}

/** The gradient goes to the operand that was chosen; equal ones share it. */
const extremumRule: BinaryRule = (dy, { shape, a, b, y }, sink) => {
  const isA = binaryValues(Binary.equal, shape, a, y, sink);
  const isB = binaryValues(Binary.equal, shape, b, y, sink);
  const chosen = binaryValues(
    Binary.add,
    shape,
    { storage: isA, shape },
    { storage: isB, shape },
    sink,
  );
  const share = binaryValues(Binary.div, shape, dy, { storage: chosen, shape }, sink);
  for (const [i, mask, operand] of [[0, isA, a] as const, [1, isB, b] as const]) {
    if (!sink.needs(i)) continue;
    const part = binaryValues(
      Binary.mul,
      shape,
      { storage: share, shape },
      { storage: mask, shape },
      sink,
    );
    sink.add(i, sumTo(part, shape, operand.shape, sink));
  }
};

/** The larger of a and b, elementwise with broadcasting; equal ones share the gradient. */
export function maximum(a: Operand, b: Operand): Tensor {
  return binary('maximum', Binary.maximum, a, b, { forA: 'aby', forB: 'aby' }, extremumRule);
}

/** The smaller of a and b, elementwise with broadcasting; equal ones share the gradient. */
export function minimum(a: Operand, b: Operand): Tensor {
  return binary('minimum', Binary.minimum, a, b, { forA: 'aby', forB: 'aby' }, extremumRule);
}

/** 1 where a > b and 0 elsewhere, with broadcasting; carries no gradient. */
export function greater(a: Operand, b: Operand): Tensor {
  return binary('greater', Binary.greater, a, b, { forA: '', forB: '' }, null);
}

/** 1 where a = b and 0 elsewhere, with broadcasting; carries no gradient. */
export function equal(a: Operand, b: Operand): Tensor {
  return binary('equal', Binary.equal, a, b, { forA: '', forB: '' }, null);
}
