import { SingleBar } from 'cli-progress';

import type { Metrics } from '../train';
import type { CommandIO } from './io';
import { progressBar, progressText, type ProgressState } from './progressLine';

/** Seconds between lines where nobody watches. */
const LINE_SECONDS = 10;
/** Weight of the newest loss in the smoothed one that is shown. */
const SMOOTHING = 0.05;
/** Width of a terminal that does not say it. */
const COLUMNS = 80;

/** Shows how a training goes: loss, tokens per second and time left. */
export class TrainingProgress {
  private readonly bar: SingleBar | null;
  private readonly started = performance.now();
  private readonly state: ProgressState;
  private firstStep: number | null = null;
  private lastLine = -Infinity;

  constructor(
    private readonly io: CommandIO,
    label: string,
    steps: number,
  ) {
    const unknown = { loss: null, valLoss: null, tokensPerSecond: null, secondsLeft: null };
    this.state = { label, step: 0, steps, ...unknown };
    this.bar = io.interactive
      ? new SingleBar({
          format: () => progressBar(this.state, process.stderr.columns || COLUMNS),
          stream: process.stderr,
          hideCursor: true,
          fps: 10,
          gracefulExit: false,
          linewrap: false,
        })
      : null;
    this.bar?.start(steps, 0);
  }

  /** Takes the numbers of a step. */
  update(metrics: Metrics): void {
    const { step, loss, valLoss, tokensPerSecond } = metrics;
    const { state } = this;
    this.firstStep ??= step;
    state.step = step;
    if (loss !== undefined) {
      state.loss = state.loss === null ? loss : state.loss + SMOOTHING * (loss - state.loss);
    }
    state.valLoss = valLoss ?? state.valLoss;
    state.tokensPerSecond = tokensPerSecond ?? state.tokensPerSecond;
    const done = step - this.firstStep;
    if (done > 0) {
      const seconds = (performance.now() - this.started) / 1000;
      state.secondsLeft = (seconds / done) * (state.steps - step);
    }
    if (this.bar !== null) {
      this.bar.update(step);
      return;
    }
    const now = performance.now() / 1000;
    if (now - this.lastLine < LINE_SECONDS && step !== state.steps) return;
    this.lastLine = now;
    this.io.stderr.write(`${progressText(state)}\n`);
  }

  /** Leaves the bar where it is. */
  stop(): void {
    this.bar?.stop();
  }
}
