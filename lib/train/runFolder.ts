import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';

import { ioError } from '../data/ioError';
import { makeFolder } from '../data/tokenFile';
import { EinlinearError } from '../errors';
import { writeAtomically } from './atomicWrite';
import { parseTrainConfig, type TrainConfig } from './config';
import type { Environment } from './environment';
import { readSafetensorsHeader } from './safetensors';

/** The files of one run. */
export class RunFolder {
  constructor(readonly path: string) {}

  get config(): string {
    return join(this.path, 'config.json');
  }

  get metrics(): string {
    return join(this.path, 'metrics.jsonl');
  }

  get checkpoint(): string {
    return join(this.path, 'checkpoint.safetensors');
  }

  get environment(): string {
    return join(this.path, 'environment.json');
  }

  /** Where a text is prepared that the run was given. */
  get data(): string {
    return join(this.path, 'data');
  }

  /** Makes the folder. */
  async create(): Promise<void> {
    await makeFolder(this.path);
  }

  /** Whether a run has begun here. */
  async hasRun(): Promise<boolean> {
    return exists(this.config);
  }

  async hasCheckpoint(): Promise<boolean> {
    return exists(this.checkpoint);
  }

  /**
   * Steps of the run that the checkpoint holds, or null without one.
   *
   * @throws EinlinearError `IO`, `INVALID_FILE`
   */
  async checkpointStep(): Promise<number | null> {
    if (!(await this.hasCheckpoint())) return null;
    return Number((await readSafetensorsHeader(this.checkpoint)).metadata.step);
  }

  /** @throws EinlinearError `IO`, `INVALID_FILE` */
  async readConfig(): Promise<TrainConfig> {
    let text: string;
    try {
      text = await readFile(this.config, 'utf8');
    } catch (error) {
      throw (error as NodeJS.ErrnoException).code === 'ENOENT'
        ? new EinlinearError('IO', `Expected a run in ${this.path}, found no config.json there`, {
            path: this.path,
          })
        : ioError('read', this.config, error);
    }
    return parseTrainConfig(text, this.config);
  }

  async writeConfig(config: TrainConfig): Promise<void> {
    await writeJson(this.config, config);
  }

  async writeEnvironment(environment: Environment): Promise<void> {
    await writeJson(this.environment, environment);
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await writeAtomically(path, [Buffer.from(`${JSON.stringify(value, null, 2)}\n`, 'utf8')]);
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
