import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { EinlinearError } from '../errors';
import type { EinsumSizes } from '../structure';

/** What a peer is asked to build. */
export interface PeerCase {
  readonly layer: string;
  readonly sizes: EinsumSizes;
  readonly tokens: number;
  /** Active experts; 0 where there are none. */
  readonly k: number;
  readonly threads: number;
}

/** Passes that are timed. */
export type Pass = 'forward' | 'forward+backward';

interface Answer {
  readonly ready?: boolean;
  readonly version?: string;
  readonly ms?: number;
}

/** Another library in a process of its own (scripts/peers), answering one request at a time. */
export class Peer {
  private readonly answers: AsyncIterator<string>;
  /** The peer's version, known after the first `prepare`. */
  version = '';

  private constructor(
    readonly name: string,
    private readonly process: ChildProcess,
  ) {
    if (process.stdout === null)
      throw new EinlinearError('INTERNAL', 'Expected a pipe to the peer');
    this.answers = createInterface({ input: process.stdout })[Symbol.asyncIterator]();
  }

  /**
   * Starts PyTorch with the interpreter of EINLINEAR_PYTHON, or python3.
   * @throws BACKEND_UNAVAILABLE where that interpreter has no PyTorch
   */
  static torch(): Peer {
    const python = process.env['EINLINEAR_PYTHON'] ?? 'python3';
    const found = spawnSync(python, ['-c', 'import torch'], { encoding: 'utf8' });
    if (found.status !== 0) {
      throw new EinlinearError(
        'BACKEND_UNAVAILABLE',
        `Expected ${python} to have PyTorch (set EINLINEAR_PYTHON to an interpreter that has it), got: ` +
          (found.error?.message ?? found.stderr.trim().split('\n').at(-1) ?? 'no answer'),
        { python },
      );
    }
    const script = join(__dirname, '..', '..', 'scripts', 'peers', 'torch_layers.py');
    // In a group of its own, so that a Ctrl-C lets the call under way end and `close` ends the peer.
    const child = spawn(python, [script], { stdio: ['pipe', 'pipe', 'inherit'], detached: true });
    return new Peer('torch', child);
  }

  /** Builds a case; `run` times it from then on. */
  async prepare(peerCase: PeerCase): Promise<void> {
    this.version = (await this.ask({ prepare: peerCase })).version ?? '';
  }

  /** Milliseconds of one call. */
  async run(pass: Pass): Promise<number> {
    const { ms } = await this.ask({ run: pass });
    if (ms === undefined)
      throw new EinlinearError('INTERNAL', `The peer ${this.name} gave no time`);
    return ms;
  }

  close(): void {
    this.process.stdin?.end();
    this.process.kill();
  }

  private async ask(request: object): Promise<Answer> {
    this.process.stdin?.write(`${JSON.stringify(request)}\n`);
    const line = await this.answers.next();
    if (line.done === true) {
      throw new EinlinearError(
        'BACKEND_UNAVAILABLE',
        `The peer ${this.name} ended before it answered`,
      );
    }
    return JSON.parse(line.value) as Answer;
  }
}
