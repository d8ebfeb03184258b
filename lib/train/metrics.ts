import { open, readFile, type FileHandle } from 'node:fs/promises';

import { ioError } from '../data/ioError';
import { EinlinearError } from '../errors';
import type { GateStatistics } from '../nn';
import { writeAtomically } from './atomicWrite';

/** One line of `metrics.jsonl`: the state after `step` optimiser steps. */
export interface Metrics {
  step: number;
  /** Tokens trained on so far. */
  tokens: number;
  /** Forward MACs spent in training so far, in the paper's convention. */
  macs: number;
  /** Training FLOPs so far: 6 per forward MAC. */
  flops: number;
  /** Mean cross-entropy of the last step's batch before its update, nats per token; not at step 0. */
  loss?: number;
  /** Mean auxiliary loss of the gates in the last step. */
  auxLoss?: number;
  /** Cross-entropy on the validation part, where it was evaluated. */
  valLoss?: number;
  /** Learning rate of the last step. */
  lr?: number;
  /** Norm of the last step's gradients before clipping. */
  gradNorm?: number;
  /** Training tokens per second since the line before. */
  tokensPerSecond?: number;
  /** How each gate used its experts in the last validation batch. */
  gates?: GateStatistics[];
}

/** Appends lines to a metrics file. */
export class MetricsWriter {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
  ) {}

  /** @throws EinlinearError `IO` */
  static async open(path: string): Promise<MetricsWriter> {
    try {
      return new MetricsWriter(path, await open(path, 'a'));
    } catch (error) {
      throw ioError('open', path, error);
    }
  }

  /** @throws EinlinearError `IO` */
  async write(metrics: Metrics): Promise<void> {
    try {
      await this.file.appendFile(`${JSON.stringify(metrics)}\n`);
    } catch (error) {
      throw ioError('write', this.path, error);
    }
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}

function parseLine(line: string): Metrics | null {
  try {
    const parsed: unknown = JSON.parse(line);
    return typeof parsed === 'object' && parsed !== null && 'step' in parsed
      ? (parsed as Metrics)
      : null;
  } catch {
    return null;
  }
}

/**
 * Reads a metrics file. A last line that was cut off by a crash is left out.
 *
 * @throws EinlinearError `IO`, `INVALID_FILE` for any other line that is no metrics
 */
export async function readMetrics(path: string): Promise<Metrics[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw ioError('read', path, error);
  }
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.flatMap((line, i) => {
    const metrics = parseLine(line);
    if (metrics !== null) return [metrics];
    if (i === lines.length - 1) return [];
    throw new EinlinearError('INVALID_FILE', `${path}: line ${i + 1} is no metrics: ${line}`, {
      path,
      line: i + 1,
    });
  });
}

/**
 * Drops what a run wrote after the checkpoint that it is continued from.
 *
 * @returns what is left
 */
export async function truncateMetrics(path: string, step: number): Promise<Metrics[]> {
  const kept = (await readMetrics(path)).filter((metrics) => metrics.step <= step);
  const text = kept.map((metrics) => `${JSON.stringify(metrics)}\n`).join('');
  await writeAtomically(path, [Buffer.from(text, 'utf8')]);
  return kept;
}
