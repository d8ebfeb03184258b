import { evaluationBatches, type Batch, type BatchSize, type TokenFile } from '../data';
import { EinlinearError } from '../errors';
import type { GPT } from '../models';
import { noGrad, tensor, tidy, type Device, type Tensor } from '../tensor';

/** A batch on the device, each [rows, context]. Call it inside a `tidy`. */
export function upload(
  { inputs, targets }: Batch,
  context: number,
  device: Device,
): { inputs: Tensor; targets: Tensor } {
  const shape = [inputs.length / context, context];
  return {
    inputs: tensor(inputs, { shape, dtype: 'int32', device }),
    targets: tensor(targets, { shape, dtype: 'int32', device }),
  };
}

export interface EvaluateOptions extends BatchSize {
  /** Number of batches. */
  batches: number;
  device: Device;
  signal?: AbortSignal | undefined;
}

/**
 * Mean cross-entropy of a model on fixed rows of a token file, in nats per token, without dropout. Works on the device
 * while it reads the next batch, and never blocks the event loop.
 *
 * @throws EinlinearError `NO_DATA`, `ABORTED`
 */
export async function evaluate(
  model: GPT,
  file: TokenFile,
  { batch, context, batches, device, signal }: EvaluateOptions,
): Promise<number> {
  const wasTraining = model.training;
  model.eval();
  try {
    let sum = 0;
    let tokens = 0;
    for await (const rows of evaluationBatches(file, { batch, context, batches })) {
      if (signal?.aborted) throw new EinlinearError('ABORTED', 'The evaluation was aborted');
      const loss = noGrad(() =>
        tidy(() => {
          const { inputs, targets } = upload(rows, context, device);
          return model.loss(inputs, targets).crossEntropy;
        }),
      );
      try {
        sum += (await loss.data())[0] * rows.targets.length;
      } finally {
        loss.dispose();
      }
      tokens += rows.targets.length;
    }
    return sum / tokens;
  } finally {
    model.train(wasTraining);
  }
}
