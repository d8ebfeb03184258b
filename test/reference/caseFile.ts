import { z } from 'zod';
import { tensor, type Tensor } from '../../lib/tensor';
import type { HostTensor } from '../../lib/nn';
import { readSafetensorsSync, type SafetensorsTensor } from '../../lib/train/safetensors';

/** One reference case: tensors by name and the JSON object of its metadata. */
export class CaseFile {
  readonly meta: unknown;
  readonly kind: string;
  readonly #tensors: ReadonlyMap<string, SafetensorsTensor>;

  constructor(path: string) {
    const { tensors, metadata } = readSafetensorsSync(path);
    this.#tensors = tensors;
    if (metadata.case === undefined) {
      throw new Error(`Expected the JSON of the case as 'case' in __metadata__, got none`);
    }
    this.meta = JSON.parse(metadata.case) as unknown;
    this.kind = z.object({ kind: z.string() }).parse(this.meta).kind;
  }

  /** Whether a case has an optional part: either tensor asks for the other, which then must be there too. */
  hasEither(value: string, gradient: string): boolean {
    return this.#tensors.has(value) || this.#tensors.has(gradient);
  }

  /** Names of all tensors. */
  get names(): string[] {
    return [...this.#tensors.keys()];
  }

  /** A float32 tensor; throws if there is none of this name. */
  floats(name: string): { shape: readonly number[]; data: Float32Array } {
    const { shape, dtype, data } = this.#get(name);
    if (dtype !== 'F32') throw new Error(`Expected tensor '${name}' to be F32, got ${dtype}`);
    return { shape, data: data as Float32Array };
  }

  /** An int32 tensor; throws if there is none of this name. */
  integers(name: string): { shape: readonly number[]; data: Int32Array } {
    const { shape, dtype, data } = this.#get(name);
    if (dtype !== 'I32') throw new Error(`Expected tensor '${name}' to be I32, got ${dtype}`);
    return { shape, data: data as Int32Array };
  }

  /** A float32 tensor on the device. */
  tensor(name: string, options: { requiresGrad?: boolean } = {}): Tensor {
    const { shape, data } = this.floats(name);
    return tensor(data, { shape, ...options });
  }

  /** All float32 tensors whose name starts with a prefix, by the rest of their names. */
  withPrefix(prefix: string): Map<string, HostTensor> {
    const names = this.names.filter((name) => name.startsWith(prefix));
    return new Map(names.map((name) => [name.slice(prefix.length), this.floats(name)]));
  }

  #get(name: string): SafetensorsTensor {
    const found = this.#tensors.get(name);
    if (found === undefined) throw new Error(`Expected a tensor '${name}' in the case`);
    return found;
  }
}

/** Values of a tensor, or of the gradient of one; throws if there is no gradient. */
export function read(value: Tensor | null): Float32Array {
  if (value === null) throw new Error('Expected a gradient, got none');
  return value.dataSync() as Float32Array;
}
