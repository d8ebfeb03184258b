import { availableParallelism } from 'node:os';
import { Option, type Command } from 'commander';
import { BENCH_LAYERS, benchLayers, Peer, type BenchLayer, type BenchRow } from '../bench';
import { device } from '../tensor';
import { flagError, oneOf, wholeNumber } from './flags';
import type { CommandIO } from './io';

interface BenchFlags {
  readonly layers: BenchLayer[];
  readonly d: number[];
  readonly tokens: number;
  readonly repeats: number;
  readonly threads?: number;
  readonly peer?: string;
  readonly json?: boolean;
}

/** Reads values separated by commas. */
function list<T>(value: (text: string) => T): (text: string) => T[] {
  return (text) => text.split(',').map(value);
}

/** Threads from the flag, the environment or the machine: both sides get the same number, so it is settled here. */
function threadCount(io: CommandIO, flag: number | undefined): number {
  const fromEnvironment = io.env['EINLINEAR_THREADS'];
  if (flag !== undefined || fromEnvironment === undefined) return flag ?? availableParallelism();
  try {
    return wholeNumber(1)(fromEnvironment);
  } catch (error) {
    throw flagError(`EINLINEAR_THREADS '${fromEnvironment}': ${(error as Error).message}`, {
      value: fromEnvironment,
    });
  }
}

function line(row: BenchRow): string {
  const ours = `${row.ours_ms.toFixed(1)} ms`.padStart(10);
  const own = `${row.layer.padEnd(14)} d=${String(row.d).padEnd(5)} ${row.pass.padEnd(17)} ${ours}`;
  if (row.peer_ms === null || row.ratio === null) return own;
  return `${own}   ${row.peer} ${`${row.peer_ms.toFixed(1)} ms`.padStart(10)}   ${row.ratio.toFixed(2)}x`;
}

async function bench(io: CommandIO, flags: BenchFlags): Promise<void> {
  const { layers, d: widths, tokens, repeats } = flags;
  const threads = threadCount(io, flags.threads);
  const cpu = device('cpu', { threads });
  let peer: Peer | null = null;
  try {
    peer = flags.peer === undefined ? null : Peer.torch();
    const rows = await benchLayers({
      device: cpu,
      layers,
      widths,
      tokens,
      repeats,
      threads,
      peer,
      signal: io.signal,
      onRow: (row) => {
        if (flags.json !== true) io.stdout.write(`${line(row)}\n`);
      },
    });
    if (flags.json === true) io.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
  } finally {
    peer?.close();
    cpu.close();
  }
}

/** Adds `einlinear bench layers` to a program. */
export function addBenchCommand(program: Command, io: CommandIO): void {
  const positive = wholeNumber(1);
  program
    .command('bench')
    .description('time layers, against a peer where one is given')
    .command('layers')
    .description('time single layers d -> d, forward and forward+backward, float32')
    .addOption(
      new Option('--layers <list>', 'which layers, separated by commas')
        .argParser(list(oneOf(...BENCH_LAYERS)))
        .default([...BENCH_LAYERS], BENCH_LAYERS.join(',')),
    )
    .addOption(
      new Option('--d <list>', 'widths, separated by commas')
        .argParser(list(positive))
        .default([512, 1024, 2048], '512,1024,2048'),
    )
    .option('--tokens <n>', 'tokens in a batch', positive, 4096)
    .option('--repeats <n>', 'timed calls a row, after one that warms up', positive, 7)
    .option('--threads <n>', 'threads (default: every core this process may use)', positive)
    .addOption(new Option('--peer <name>', 'library to time in turn with ours').choices(['torch']))
    .option('--json', 'print the rows as JSON')
    .addHelpText('after', '\nExample:\n  einlinear bench layers --peer torch --d 1024')
    .action((flags: BenchFlags) => bench(io, flags));
}
