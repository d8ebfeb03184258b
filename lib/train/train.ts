import { isAbsolute, relative, resolve } from 'node:path';
import { setImmediate as turnOfEventLoop } from 'node:timers/promises';

import {
  BatchSampler,
  checkRows,
  evaluationBatches,
  openTokenData,
  type Batch,
  type SamplerState,
  type TokenData,
} from '../data';
import { EinlinearError } from '../errors';
import { GPT } from '../models';
import type { StateDict } from '../nn';
import { checkState } from '../nn/stateDict';
import { AdamW, clipGradNorm } from '../optim';
import { device as openDevice, Generator, tidy, type Device, type Tensor } from '../tensor';
import { loadCheckpoint, saveCheckpoint, type Checkpoint } from './checkpoint';
import { resolveTrainConfig, scheduleOf, type TrainConfig, type TrainConfigInput } from './config';
import { describeEnvironment } from './environment';
import { evaluate, upload } from './evaluate';
import { MetricsWriter, truncateMetrics, type Metrics } from './metrics';
import { RunFolder } from './runFolder';

/** FLOPs of training per forward MAC: two for the forward pass, four for the backward. */
const FLOPS_PER_MAC = 6;
/** Keeps the random numbers of dropout apart from those of the initial weights. */
const DROPOUT_SEED = 0x64726f70;

/** What a run has cost so far. */
export type Spent = Pick<Metrics, 'step' | 'tokens' | 'macs' | 'flops'>;

export interface TrainOptions {
  /** Folder for configuration, metrics and checkpoint. Without one nothing is written. */
  folder?: string;
  /** Continue the run in `folder` from its checkpoint. */
  resume?: boolean;
  /** Stops after the step under way, saves, and rejects with `ABORTED`. */
  signal?: AbortSignal;
  /**
   * Asked after every step; where it says so, the run ends there as if all steps were done, evaluated and saved, its
   * schedule unfinished.
   */
  endsEarly?: (spent: Spent) => boolean;
  /** Called after every step; lines that go to the metrics file have `logged` set. */
  onStep?: (metrics: Metrics, logged: boolean) => void;
  /** Called with the trained model before it is disposed. */
  onModel?: (model: GPT) => Promise<void> | void;
  /** Where to train; by default a device of its own is opened and closed. */
  device?: Device;
}

/** What a run came to. */
export interface TrainResult {
  config: TrainConfig;
  /** Steps done. */
  step: number;
  tokens: number;
  macs: number;
  parameters: number;
  macsPerToken: number;
  /** Of the last step. */
  loss: number | null;
  /** Of the last evaluation. */
  valLoss: number | null;
  /** Mean over the steps of this call, evaluations and checkpoints excluded. */
  tokensPerSecond: number | null;
}

/** Batches of one step, asked for before they are needed. */
interface Prefetch {
  /** Of the sampler before these batches. */
  state: SamplerState;
  batches: Promise<Batch[]>;
}

/** Losses of one micro-batch, disposed at the end of its step. */
interface MicroBatch {
  loss: Tensor;
  auxiliary: Tensor | null;
}

/** Numbers of one step, on their way from the device. */
interface Pending {
  step: number;
  lr: number;
  values: Promise<{ loss: number; auxLoss: number | null; gradNorm: number }>;
}

function checkTensors(what: string, targets: Map<string, Tensor>, state: StateDict): void {
  checkState(what, new Map(Array.from(targets, ([name, { shape }]) => [name, shape])), state);
}

/** The run of one model: state and the single step. */
class Run {
  readonly schedule: (step: number) => number;
  readonly macsPerToken: number;
  readonly tokensPerStep: number;
  step = 0;
  private readonly sampler: BatchSampler;
  private prefetched: Prefetch | null = null;

  constructor(
    readonly config: TrainConfig,
    readonly model: GPT,
    readonly optimizer: AdamW,
    readonly generator: Generator,
    private readonly data: TokenData,
    readonly device: Device,
    checkpoint: Checkpoint | null,
  ) {
    const { batch, gradAccumulation, seed } = config;
    const context = config.model.contextLength;
    for (const file of [data.train, data.val]) checkRows(file, { batch, context });
    if (checkpoint !== null) {
      if (config.steps < checkpoint.step) {
        throw new EinlinearError(
          'INVALID_ARGUMENT',
          `Expected steps to be at least those of the checkpoint, ${checkpoint.step}, got ${config.steps}`,
          { steps: config.steps, checkpoint: checkpoint.step },
        );
      }
      // Names first: those of another model say more than the size of its data.
      checkTensors('the module', model.stateDict(), checkpoint.model);
      checkTensors('the optimiser', optimizer.stateDict().tensors, checkpoint.optimizer.tensors);
      if (checkpoint.trainTokens !== data.train.length) {
        throw new EinlinearError(
          'CHECKPOINT_MISMATCH',
          `Expected the training data the run began with, ${checkpoint.trainTokens} tokens, got ${data.train.length}`,
          { expected: checkpoint.trainTokens, got: data.train.length },
        );
      }
      generator.state = checkpoint.generator;
      this.step = checkpoint.step;
    }
    this.schedule = scheduleOf(config);
    this.macsPerToken = model.macsPerToken(context).total;
    this.tokensPerStep = batch * gradAccumulation * context;
    const state = checkpoint?.sampler ?? { seed, counter: 0 };
    this.sampler = new BatchSampler(data.train, { batch, context }, state);
  }

  /** Takes over the tensors of the checkpoint this run was made for, with turns of the event loop between them. */
  async loadTensors({ model, optimizer }: Checkpoint): Promise<void> {
    const moments = this.optimizer.stateDict().tensors;
    for (const [targets, state] of [
      [this.model.stateDict(), model],
      [moments, optimizer.tensors],
    ] as const) {
      for (const [name, { data }] of state) {
        targets.get(name)?.copyFrom(data);
        await turnOfEventLoop();
      }
    }
    // The moments are there: what is left to load is the count of steps.
    this.optimizer.loadStateDict({ step: optimizer.step, tensors: moments });
  }

  /** Where batches, step and random numbers stand between two steps. */
  get progress() {
    return {
      step: this.step,
      sampler: this.prefetched?.state ?? this.sampler.state,
      generator: this.generator.state,
      trainTokens: this.data.train.length,
    };
  }

  get spent(): Spent {
    const tokens = this.step * this.tokensPerStep;
    const macs = tokens * this.macsPerToken;
    return { step: this.step, tokens, macs, flops: FLOPS_PER_MAC * macs };
  }

  private prefetch(): Prefetch {
    const state = this.sampler.state;
    const batches = (async () => {
      const all: Batch[] = [];
      for (let i = 0; i < this.config.gradAccumulation; i++) all.push(await this.sampler.next());
      return all;
    })();
    // Whoever awaits the batches sees the error; until then it is nobody's.
    batches.catch(() => undefined);
    return { state, batches };
  }

  /** Queues one optimiser step on the device; its numbers arrive later. */
  async enqueueStep(): Promise<Pending> {
    const batches = await (this.prefetched ?? this.prefetch()).batches;
    const { gradClip, lr: baseLr, steps } = this.config;
    const lr = baseLr * this.schedule(this.step);
    const context = this.config.model.contextLength;
    this.optimizer.lr = lr;
    const parts: MicroBatch[] = [];
    let scalars;
    try {
      this.optimizer.zeroGrad();
      for (const batch of batches) {
        // Queueing takes time too: others get their turn between micro-batches.
        if (parts.length > 0) await turnOfEventLoop();
        // A scope of its own frees each micro-batch before the next.
        const part = tidy((): MicroBatch => {
          const { inputs, targets } = upload(batch, context, this.device);
          const { total, crossEntropy, auxiliary } = this.model.loss(inputs, targets);
          (batches.length === 1 ? total : total.mul(1 / batches.length)).backward();
          return { loss: crossEntropy.detach(), auxiliary: auxiliary?.detach() ?? null };
        });
        parts.push(part);
      }
      if (parts.length > 1) await turnOfEventLoop();
      scalars = tidy(() => {
        const { norm, scale } = clipGradNorm(
          this.optimizer.parameters,
          gradClip === 0 ? Infinity : gradClip,
        );
        this.optimizer.step({ gradScale: gradClip === 0 ? null : scale });
        const mean = (values: Tensor[]) =>
          values
            .slice(1)
            .reduce((sum, value) => sum.add(value), values[0])
            .mul(1 / values.length);
        const auxiliaries = parts.map((part) => part.auxiliary).filter((value) => value !== null);
        return {
          loss: mean(parts.map((part) => part.loss)),
          auxiliary: auxiliaries.length === 0 ? null : mean(auxiliaries),
          norm,
        };
      });
    } finally {
      for (const part of parts) {
        part.loss.dispose();
        part.auxiliary?.dispose();
      }
    }
    const { loss, auxiliary, norm } = scalars;
    this.step += 1;
    this.prefetched = this.step < steps ? this.prefetch() : null;
    const values = Promise.all([loss.data(), norm.data(), auxiliary?.data()]).then(
      ([lossValue, normValue, auxValue]) => ({
        loss: lossValue[0],
        gradNorm: normValue[0],
        auxLoss: auxValue === undefined ? null : auxValue[0],
      }),
    );
    values.catch(() => undefined);
    for (const scalar of [loss, norm, auxiliary]) scalar?.dispose();
    return { step: this.step, lr, values };
  }

  /**
   * Loss and gradient norm of the present weights on one validation batch. Nothing of the run's state changes: not the
   * weights, not the random numbers to come.
   */
  async trial(): Promise<Record<string, number>> {
    const { batch, model } = this.config;
    const context = model.contextLength;
    const size = { batch, context, batches: 1 };
    const generatorState = this.generator.state;
    try {
      for await (const rows of evaluationBatches(this.data.val, size)) {
        const scalars = tidy(() => {
          this.optimizer.zeroGrad();
          const { inputs, targets } = upload(rows, context, this.device);
          const { total, crossEntropy } = this.model.loss(inputs, targets);
          total.backward();
          const { norm } = clipGradNorm(this.optimizer.parameters, Infinity);
          return { loss: crossEntropy.detach(), norm };
        });
        try {
          const [loss, norm] = await Promise.all([scalars.loss.data(), scalars.norm.data()]);
          return { loss: loss[0], 'gradient norm': norm[0] };
        } finally {
          scalars.loss.dispose();
          scalars.norm.dispose();
        }
      }
      return {};
    } finally {
      this.optimizer.zeroGrad();
      this.generator.state = generatorState;
    }
  }

  async evaluate(): Promise<Pick<Metrics, 'valLoss' | 'gates'>> {
    const { batch, evalBatches: batches, model } = this.config;
    const context = model.contextLength;
    const { device } = this;
    const valLoss = await evaluate(this.model, this.data.val, { batch, context, batches, device });
    const gates = await this.model.gateStatistics();
    return gates.length === 0 ? { valLoss } : { valLoss, gates };
  }
}

function notFinite(name: string, value: number, step: number, kept: string | null): EinlinearError {
  return new EinlinearError(
    'NOT_FINITE',
    `The ${name} became ${value} at step ${step}; training stopped` +
      (kept === null ? '' : ` and the last good checkpoint is kept in ${kept}`),
    { name, value, step },
  );
}

/** What the loop keeps besides the run itself. */
class Session {
  private readonly started = performance.now();
  private pausedMs = 0;
  private windowMs = performance.now();
  private windowStep: number;
  private readonly firstStep: number;
  private savedStep: number | null;
  loss: number | null = null;
  valLoss: number | null = null;

  constructor(
    private readonly run: Run,
    private readonly folder: RunFolder | null,
    private readonly writer: MetricsWriter | null,
    private readonly options: TrainOptions,
    resumed: boolean,
  ) {
    this.windowStep = this.firstStep = run.step;
    this.savedStep = resumed ? run.step : null;
  }

  /** Time that does not count as training. */
  private async pause<T>(work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      const elapsed = performance.now() - start;
      this.pausedMs += elapsed;
      this.windowMs += elapsed;
    }
  }

  /** Training speed over all steps of this session. */
  get tokensPerSecond(): number | null {
    const seconds = (performance.now() - this.started - this.pausedMs) / 1000;
    const tokens = (this.run.step - this.firstStep) * this.run.tokensPerStep;
    return tokens === 0 ? null : tokens / seconds;
  }

  private get kept(): string | null {
    return this.folder !== null && this.savedStep !== null ? this.folder.checkpoint : null;
  }

  /** Waits for the numbers of a step and writes them where a line is due, as it is for the last step. */
  async settle({ step, lr, values }: Pending, last: boolean): Promise<void> {
    const { loss, auxLoss, gradNorm } = await values;
    this.loss = loss;
    for (const [name, value] of Object.entries({ loss, 'gradient norm': gradNorm })) {
      if (!Number.isFinite(value)) throw notFinite(name, value, step, this.kept);
    }
    const { logEvery, evalEvery } = this.run.config;
    const evaluated = last || (evalEvery > 0 && step % evalEvery === 0);
    const logged = evaluated || step % logEvery === 0;
    const tokens = step * this.run.tokensPerStep;
    const macs = tokens * this.run.macsPerToken;
    const metrics: Metrics = {
      step,
      tokens,
      macs,
      flops: FLOPS_PER_MAC * macs,
      loss,
      lr,
      gradNorm,
    };
    if (auxLoss !== null) metrics.auxLoss = auxLoss;
    if (logged) {
      const now = performance.now();
      metrics.tokensPerSecond =
        ((step - this.windowStep) * this.run.tokensPerStep * 1000) / (now - this.windowMs);
      this.windowMs = now;
      this.windowStep = step;
    }
    if (evaluated) await this.evaluateInto(metrics);
    if (logged) await this.writer?.write(metrics);
    this.options.onStep?.(metrics, logged);
  }

  async evaluateInto(metrics: Metrics): Promise<void> {
    // An abort ends the run between two steps, not inside an evaluation, so that a resumed run has the same lines.
    const evaluated = await this.pause(() => this.run.evaluate());
    Object.assign(metrics, evaluated);
    this.valLoss = metrics.valLoss ?? null;
    if (!Number.isFinite(metrics.valLoss)) {
      throw notFinite('validation loss', metrics.valLoss ?? NaN, metrics.step, this.kept);
    }
  }

  /** The line of an untrained model. */
  async begin(): Promise<void> {
    const metrics: Metrics = this.run.spent;
    if (this.run.config.evalEvery > 0) await this.evaluateInto(metrics);
    await this.writer?.write(metrics);
    this.options.onStep?.(metrics, true);
  }

  /**
   * Saves unless this step was saved. A step's loss is that of the weights before its update, so the new weights are
   * tried first, forward and backward: a checkpoint never holds weights that have already blown up.
   */
  async save(): Promise<void> {
    const { folder, run } = this;
    if (folder === null || this.savedStep === run.step) return;
    await this.pause(async () => {
      for (const [name, value] of Object.entries(await run.trial())) {
        if (!Number.isFinite(value)) throw notFinite(name, value, run.step, this.kept);
      }
      await saveCheckpoint(folder.checkpoint, run.model, run.optimizer, run.config, run.progress);
    });
    this.savedStep = run.step;
  }
}

/** Trains to the end. @returns whether it came there: an abort ends it before */
async function loop(
  run: Run,
  session: Session,
  { signal, endsEarly }: TrainOptions,
): Promise<boolean> {
  const { steps, evalEvery, checkpointEvery } = run.config;
  if (run.step === 0) {
    await session.begin();
    // So that a run that blows up at once still has weights to go back to.
    await session.save();
  }
  let pending: Pending | null = null;
  let ended = run.step >= steps;
  while (!ended && !signal?.aborted) {
    const queued: Pending = await run.enqueueStep();
    // One step runs while the next is queued: the device never waits, and memory stays bounded. A step that is
    // followed by an evaluation or a checkpoint is settled at once, below.
    if (pending !== null) await session.settle(pending, false);
    pending = queued;
    ended = run.step === steps || (endsEarly?.(run.spent) ?? false);
    const due = (every: number) => every > 0 && run.step % every === 0;
    if (ended || due(evalEvery) || due(checkpointEvery)) {
      await session.settle(pending, ended);
      pending = null;
      if (due(checkpointEvery)) await session.save();
    }
  }
  if (pending !== null) await session.settle(pending, false);
  await session.save();
  return ended;
}

/** The folder of a run and where it goes on. Nothing is written before all is checked, see {@link openFolder}. */
async function findFolder(
  options: TrainOptions,
): Promise<{ folder: RunFolder | null; checkpoint: Checkpoint | null }> {
  if (options.folder === undefined) {
    if (options.resume) {
      throw new EinlinearError('INVALID_ARGUMENT', 'Expected a folder to resume from, got none');
    }
    return { folder: null, checkpoint: null };
  }
  const folder = new RunFolder(options.folder);
  if (options.resume) {
    return { folder, checkpoint: await loadCheckpoint(folder.checkpoint) };
  }
  if (await folder.hasCheckpoint()) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `${folder.path} already holds a run: resume it, or choose another folder`,
      { folder: folder.path },
    );
  }
  return { folder, checkpoint: null };
}

/**
 * Writes what a run begins with. A continued one drops the metrics after its checkpoint and keeps its settings as they
 * are now, so that the next to continue it finds the steps that this one was asked for.
 *
 * @returns the metrics so far
 */
async function openFolder(
  folder: RunFolder,
  config: TrainConfig,
  dataFolder: string,
  checkpoint: Checkpoint | null,
): Promise<Metrics[]> {
  await folder.create();
  const metrics = checkpoint === null ? [] : await truncateMetrics(folder.metrics, checkpoint.step);
  const inside = relative(resolve(folder.path), dataFolder);
  const portable = inside !== '' && !inside.startsWith('..') && !isAbsolute(inside);
  await folder.writeConfig({ ...config, data: portable ? inside : dataFolder });
  if (checkpoint === null) await folder.writeEnvironment(describeEnvironment());
  return metrics;
}

/**
 * Trains a GPT on token files.
 *
 * A run folder gets `config.json`, `environment.json`, `metrics.jsonl` and `checkpoint.safetensors`. An abort and the end
 * of the run save a checkpoint, from which `resume` goes on with the very numbers that an uninterrupted run would have.
 *
 * @param input the configuration; with `resume`, that of the run (`RunFolder.readConfig`), whose `data` is taken relative
 *   to the folder
 * @throws EinlinearError `NOT_FINITE` when loss or gradient is no number (the last good checkpoint is kept), `ABORTED`
 *   after an abort, `CHECKPOINT_MISMATCH` for the checkpoint of another model, `NO_DATA`, `IO`, `INVALID_FILE`,
 *   `INVALID_ARGUMENT`
 */
export async function train(
  input: TrainConfigInput,
  options: TrainOptions = {},
): Promise<TrainResult> {
  const config = resolveTrainConfig(input);
  const { folder, checkpoint } = await findFolder(options);
  const dataFolder =
    folder !== null && options.resume ? resolve(folder.path, config.data) : resolve(config.data);
  const data = await openTokenData(dataFolder);
  const device =
    options.device ?? openDevice(config.device, { threads: config.threads ?? undefined });
  const compute = device.compute;
  let model: GPT | null = null;
  let optimizer: AdamW | null = null;
  let writer: MetricsWriter | null = null;
  try {
    device.compute = config.dtype;
    if (data.meta.vocabSize > config.model.vocabSize) {
      throw new EinlinearError(
        'INVALID_ARGUMENT',
        `Expected the model's vocabSize to be at least that of the data, ${data.meta.vocabSize}, got ${config.model.vocabSize}`,
        { data: data.meta.vocabSize, model: config.model.vocabSize },
      );
    }
    const dropoutGenerator = new Generator(config.seed + DROPOUT_SEED);
    model = new GPT(config.model, {
      generator: new Generator(config.seed),
      dropoutGenerator,
      device,
    });
    const { lr, betas, weightDecay } = config;
    optimizer = new AdamW(model, { lr, betas, eps: 1e-8, weightDecay });
    const run = new Run(config, model, optimizer, dropoutGenerator, data, device, checkpoint);
    if (checkpoint !== null) await run.loadTensors(checkpoint);
    const before = folder === null ? [] : await openFolder(folder, config, dataFolder, checkpoint);
    writer = folder === null ? null : await MetricsWriter.open(folder.metrics);
    const session = new Session(run, folder, writer, options, checkpoint !== null);
    session.valLoss = before.findLast(({ valLoss }) => valLoss !== undefined)?.valLoss ?? null;
    if (!(await loop(run, session, options))) {
      throw new EinlinearError(
        'ABORTED',
        `Training was interrupted at step ${run.step} of ${config.steps}` +
          (folder === null ? '' : `; the checkpoint is in ${folder.checkpoint}`),
        { step: run.step, folder: folder?.path },
      );
    }
    await options.onModel?.(model);
    const { tokens, macs } = run.spent;
    return {
      config,
      step: run.step,
      tokens,
      macs,
      parameters: model.parameterCount(),
      macsPerToken: run.macsPerToken,
      loss: session.loss,
      valLoss: session.valLoss,
      tokensPerSecond: session.tokensPerSecond,
    };
  } finally {
    await writer?.close();
    await data.close();
    optimizer?.dispose();
    model?.zeroGrad();
    model?.dispose();
    if (options.device === undefined) device.close();
    else device.compute = compute;
  }
}
