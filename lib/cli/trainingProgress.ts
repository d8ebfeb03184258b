import { Presets, SingleBar } from 'cli-progress';

import type { Metrics } from '../train';
import { formatCount, formatDuration } from './format';
import type { CommandIO } from './io';

/** Seconds between lines where nobody watches. */
const LINE_SECONDS = 10;
/** Weight of the newest loss in the smoothed one that is shown. */
const SMOOTHING = 0.05;

/** Shows how a training goes: loss, tokens per second and time left. */
export class TrainingProgress {
  private readonly bar: SingleBar | null;
  private readonly started = performance.now();
  private firstStep: number | null = null;
  private lastLine = -Infinity;
  private loss: number | null = null;
  private valLoss: number | null = null;
  private tokensPerSecond: number | null = null;

  constructor(
    private readonly io: CommandIO,
    private readonly label: string,
    private readonly steps: number,
  ) {
    this.bar = io.interactive
      ? new SingleBar(
          {
            format: `${label} {bar} {percentage}% · step {value}/{total} · {status}`,
            stream: process.stderr,
            hideCursor: true,
            barsize: 24,
            fps: 10,
            gracefulExit: false,
            linewrap: false,
          },
          Presets.shades_classic,
        )
      : null;
    this.bar?.start(steps, 0, { status: 'starting' });
  }

  private status(step: number): string {
    const parts: string[] = [];
    if (this.loss !== null) parts.push(`loss ${this.loss.toFixed(3)}`);
    if (this.valLoss !== null) parts.push(`val ${this.valLoss.toFixed(3)}`);
    if (this.tokensPerSecond !== null) {
      parts.push(`${formatCount(this.tokensPerSecond)} tokens/s`);
    }
    const done = step - (this.firstStep ?? step);
    if (done > 0) {
      const seconds = (performance.now() - this.started) / 1000;
      parts.push(`${formatDuration((seconds / done) * (this.steps - step))} left`);
    }
    return parts.join(' · ');
  }

  /** Takes the numbers of a step. */
  update(metrics: Metrics): void {
    const { step, loss, valLoss, tokensPerSecond } = metrics;
    this.firstStep ??= step;
    if (loss !== undefined) {
      this.loss = this.loss === null ? loss : this.loss + SMOOTHING * (loss - this.loss);
    }
    this.valLoss = valLoss ?? this.valLoss;
    this.tokensPerSecond = tokensPerSecond ?? this.tokensPerSecond;
    const status = this.status(step);
    if (this.bar !== null) {
      this.bar.update(step, { status });
      return;
    }
    const now = performance.now() / 1000;
    if (now - this.lastLine < LINE_SECONDS && step !== this.steps) return;
    this.lastLine = now;
    this.io.stderr.write(`${this.label} · step ${step}/${this.steps} · ${status}\n`);
  }

  /** Leaves the bar where it is. */
  stop(): void {
    this.bar?.stop();
  }
}
