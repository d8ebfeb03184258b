import type { Command } from 'commander';
import { stat } from 'node:fs/promises';

import { EinlinearError } from '../errors';
import { GPT } from '../models';
import { device as openDevice } from '../tensor';
import { loadCheckpoint, RunFolder, sampleTokens } from '../train';
import { deviceName, pickDevice, type DeviceFlag } from './deviceFlag';
import { flagError, isGiven, numberWithin, wholeNumber } from './flags';
import type { CommandIO } from './io';

interface SampleFlags {
  prompt: string;
  tokens: number;
  temperature: number;
  topK?: number;
  topP: number;
  seed: number;
  device: DeviceFlag;
  threads?: number;
  json?: true;
}

/** Adds `sample`. */
export function addSampleCommand(program: Command, io: CommandIO): void {
  const command = program
    .command('sample')
    .summary('let a trained model write')
    .description('Let a trained model write.')
    .argument('<run>', 'run folder or checkpoint')
    .option('--prompt <text>', 'what the text begins with (default: a new document)', '')
    .option('--tokens <n>', 'how many to write', wholeNumber(0), 500)
    .option('--temperature <x>', '0: always the likeliest', numberWithin(0, 1000), 0.8)
    .option('--top-k <n>', 'choose among the k likeliest (all)', wholeNumber(1))
    .option(
      '--top-p <x>',
      'choose among the likeliest up to this probability',
      numberWithin(1e-9, 1),
      1,
    )
    .option('--seed <n>', 'decides the choices', wholeNumber(0), 0)
    .option('--device <name>', 'auto, cpu, cuda or cuda:1', deviceName, 'auto')
    .option('--threads <n>', 'CPU threads (all)', wholeNumber(1))
    .option('--json', 'print prompt, text and tokens as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  einlinear sample runs/moe --prompt "My fellow citizens" --tokens 300 --top-p 0.95\n',
    );
  command.action(async (path: string, flags: SampleFlags) => {
    if (flags.temperature === 0) {
      for (const name of ['topK', 'topP'] as const) {
        if (!isGiven(command, name)) continue;
        throw flagError(
          `--${name === 'topK' ? 'top-k' : 'top-p'} ${flags[name]} contradicts --temperature 0, which always takes the likeliest token`,
        );
      }
    }
    await runSample(io, path, flags);
  });
}

/** Ids of a text in the symbols of a model. */
function encode(text: string, symbols: string): number[] {
  return Array.from(text, (symbol, position) => {
    const id = symbols.indexOf(symbol);
    if (id < 0) {
      throw new EinlinearError(
        'OUT_OF_RANGE',
        `Expected the prompt to be in the model's vocabulary of ${symbols.length} symbols, got ${JSON.stringify(symbol)} at position ${position}`,
        { symbol, position },
      );
    }
    return id;
  });
}

async function runSample(io: CommandIO, path: string, flags: SampleFlags): Promise<void> {
  const isFolder = await stat(path).then(
    (status) => status.isDirectory(),
    () => false,
  );
  const checkpoint = await loadCheckpoint(isFolder ? new RunFolder(path).checkpoint : path);
  const { symbols, model: modelConfig } = checkpoint.config;
  if (symbols === null && flags.prompt !== '') {
    throw flagError('--prompt needs a model of characters; this one was trained on bare token ids');
  }
  const device = openDevice(pickDevice(flags.device).name, { threads: flags.threads });
  const model = new GPT(modelConfig, { device });
  try {
    model.loadStateDict(checkpoint.model);
    // A document begins after the newline that ends the one before.
    const prompt = symbols === null ? [0] : encode(`\n${flags.prompt}`, symbols);
    const ids: number[] = [];
    const { temperature, topK, topP, seed, tokens } = flags;
    if (!flags.json) io.stdout.write(flags.prompt);
    for await (const id of sampleTokens(model, prompt, tokens, {
      temperature,
      ...(topK === undefined ? {} : { topK }),
      topP,
      seed,
      signal: io.signal,
    })) {
      ids.push(id);
      if (!flags.json) io.stdout.write(symbols === null ? `${id} ` : (symbols[id] ?? '\ufffd'));
    }
    if (flags.json) {
      const text = symbols === null ? null : ids.map((id) => symbols[id]).join('');
      io.stdout.write(`${JSON.stringify({ prompt: flags.prompt, text, tokens: ids })}\n`);
    } else {
      io.stdout.write('\n');
    }
  } finally {
    model.dispose();
    device.close();
  }
}
