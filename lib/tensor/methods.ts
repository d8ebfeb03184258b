import { requireArray } from '../checks';
import type { AttentionOptions } from './attention';
import type { DropoutOptions } from './dropout';
import { dropout } from './dropout';
import type { GeluOptions, Operand } from './elementwise';
import * as elementwise from './elementwise';
import { embedding } from './embedding';
import { attention } from './attention';
import { layerNorm } from './layerNorm';
import { linear } from './linear';
import type { CrossEntropyOptions } from './loss';
import { crossEntropy, mseLoss } from './loss';
import { matmul } from './matmul';
import type { Dims } from './reduce';
import * as reduce from './reduce';
import * as shape from './shape';
import { logSoftmax, softmax } from './softmax';
import { Tensor } from './tensor';

/**
 * Functions on a tensor as its methods: `x.add(y)` is `add(x, y)`. They are attached here, apart
 * from the class, because the functions themselves need it.
 */
export interface TensorMethods {
  add(b: Operand): Tensor;
  sub(b: Operand): Tensor;
  mul(b: Operand): Tensor;
  div(b: Operand): Tensor;
  maximum(b: Operand): Tensor;
  minimum(b: Operand): Tensor;
  greater(b: Operand): Tensor;
  equal(b: Operand): Tensor;
  neg(): Tensor;
  exp(): Tensor;
  log(): Tensor;
  sqrt(): Tensor;
  square(): Tensor;
  abs(): Tensor;
  relu(): Tensor;
  gelu(options?: GeluOptions): Tensor;
  tanh(): Tensor;
  sigmoid(): Tensor;
  reciprocal(): Tensor;
  matmul(b: Tensor): Tensor;
  sum(dim?: Dims, keepDim?: boolean): Tensor;
  mean(dim?: Dims, keepDim?: boolean): Tensor;
  max(dim?: Dims, keepDim?: boolean): Tensor;
  min(dim?: Dims, keepDim?: boolean): Tensor;
  softmax(dim?: number): Tensor;
  logSoftmax(dim?: number): Tensor;
  reshape(shape: readonly number[]): Tensor;
  transpose(dim0?: number, dim1?: number): Tensor;
  permute(dims: readonly number[]): Tensor;
  slice(dim: number, start: number, end?: number): Tensor;
  /** This tensor followed by others, along an axis. */
  concat(others: readonly Tensor[], dim?: number): Tensor;
  expand(shape: readonly number[]): Tensor;
  pad(padding: readonly (readonly [number, number])[], value?: number): Tensor;
  dropout(p: number, options?: DropoutOptions): Tensor;
  linear(weight: Tensor, bias?: Tensor | null): Tensor;
  layerNorm(gain?: Tensor | null, bias?: Tensor | null, eps?: number): Tensor;
  /** Rows of `table` by the numbers in this int32 tensor. */
  embedding(table: Tensor): Tensor;
  /** Attention with this tensor as the query. */
  attention(k: Tensor, v: Tensor, options?: AttentionOptions): Tensor;
  crossEntropy(targets: Tensor, options?: CrossEntropyOptions): Tensor;
  mseLoss(target: Tensor): Tensor;
}

declare module './tensor' {
  // eslint-disable-next-line @typescript-eslint/no-empty-object-type -- merges the methods into the class
  interface Tensor extends TensorMethods {}
}

const methods: TensorMethods & ThisType<Tensor> = {
  add(b) {
    return elementwise.add(this, b);
  },
  sub(b) {
    return elementwise.sub(this, b);
  },
  mul(b) {
    return elementwise.mul(this, b);
  },
  div(b) {
    return elementwise.div(this, b);
  },
  maximum(b) {
    return elementwise.maximum(this, b);
  },
  minimum(b) {
    return elementwise.minimum(this, b);
  },
  greater(b) {
    return elementwise.greater(this, b);
  },
  equal(b) {
    return elementwise.equal(this, b);
  },
  neg() {
    return elementwise.neg(this);
  },
  exp() {
    return elementwise.exp(this);
  },
  log() {
    return elementwise.log(this);
  },
  sqrt() {
    return elementwise.sqrt(this);
  },
  square() {
    return elementwise.square(this);
  },
  abs() {
    return elementwise.abs(this);
  },
  relu() {
    return elementwise.relu(this);
  },
  gelu(options) {
    return elementwise.gelu(this, options);
  },
  tanh() {
    return elementwise.tanh(this);
  },
  sigmoid() {
    return elementwise.sigmoid(this);
  },
  reciprocal() {
    return elementwise.reciprocal(this);
  },
  matmul(b) {
    return matmul(this, b);
  },
  sum(dim, keepDim) {
    return reduce.sum(this, dim, keepDim);
  },
  mean(dim, keepDim) {
    return reduce.mean(this, dim, keepDim);
  },
  max(dim, keepDim) {
    return reduce.max(this, dim, keepDim);
  },
  min(dim, keepDim) {
    return reduce.min(this, dim, keepDim);
  },
  softmax(dim) {
    return softmax(this, dim);
  },
  logSoftmax(dim) {
    return logSoftmax(this, dim);
  },
  reshape(sizes) {
    return shape.reshape(this, sizes);
  },
  transpose(dim0, dim1) {
    return shape.transpose(this, dim0, dim1);
  },
  permute(dims) {
    return shape.permute(this, dims);
  },
  slice(dim, start, end) {
    return shape.slice(this, dim, start, end);
  },
  concat(others, dim) {
    requireArray('others', others);
    return shape.concat([this, ...others], dim);
  },
  expand(sizes) {
    return shape.expand(this, sizes);
  },
  pad(padding, value) {
    return shape.pad(this, padding, value);
  },
  dropout(p, options) {
    return dropout(this, p, options);
  },
  linear(weight, bias) {
    return linear(this, weight, bias);
  },
  layerNorm(gain, bias, eps) {
    return layerNorm(this, gain, bias, eps);
  },
  embedding(table) {
    return embedding(this, table);
  },
  attention(k, v, options) {
    return attention(this, k, v, options);
  },
  crossEntropy(targets, options) {
    return crossEntropy(this, targets, options);
  },
  mseLoss(target) {
    return mseLoss(this, target);
  },
};

for (const [name, method] of Object.entries(methods)) {
  Object.defineProperty(Tensor.prototype, name, {
    value: method,
    configurable: true,
    writable: true,
  });
}
