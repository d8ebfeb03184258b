import { availableParallelism } from 'node:os';
import { Option, type Command } from 'commander';
import { BENCH_LAYERS, benchLayers, Peer, type BenchLayer, type BenchRow } from '../bench';
import { EinlinearError } from '../errors';
import { device } from '../tensor';
import type { CommandIO } from './io';

interface BenchFlags {
  readonly layers: string;
  readonly d: string;
  readonly tokens: string;
  readonly repeats: string;
  readonly threads?: string;
  readonly peer?: string;
  readonly json?: boolean;
}

function positive(flag: string, text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new EinlinearError(
      'INVALID_FLAG',
      `Expected ${flag} to be a whole number of at least 1, got '${text}'`,
      { flag, value: text },
    );
  }
  return value;
}

function line(row: BenchRow): string {
  const ours = `${row.ours_ms.toFixed(1)} ms`.padStart(10);
  const own = `${row.layer.padEnd(14)} d=${String(row.d).padEnd(5)} ${row.pass.padEnd(17)} ${ours}`;
  if (row.peer_ms === null || row.ratio === null) return own;
  return `${own}   ${row.peer} ${`${row.peer_ms.toFixed(1)} ms`.padStart(10)}   ${row.ratio.toFixed(2)}x`;
}

async function bench(io: CommandIO, flags: BenchFlags): Promise<void> {
  // Both sides get the same number, so it is settled here.
  const threads = positive(
    '--threads',
    flags.threads ?? io.env['EINLINEAR_THREADS'] ?? String(availableParallelism()),
  );
  const cpu = device('cpu', { threads });
  const peer = flags.peer === undefined ? null : Peer.torch();
  try {
    const rows = await benchLayers({
      device: cpu,
      layers: flags.layers.split(',') as BenchLayer[],
      widths: flags.d.split(',').map((d) => positive('--d', d)),
      tokens: positive('--tokens', flags.tokens),
      repeats: positive('--repeats', flags.repeats),
      threads,
      peer,
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
  program
    .command('bench')
    .description('time layers, against a peer where one is given')
    .command('layers')
    .description('time single layers d -> d, forward and forward+backward, float32')
    .option('--layers <list>', 'which layers, separated by commas', BENCH_LAYERS.join(','))
    .option('--d <list>', 'widths, separated by commas', '512,1024,2048')
    .option('--tokens <n>', 'tokens in a batch', '4096')
    .option('--repeats <n>', 'timed calls a row, after one that warms up', '7')
    .option('--threads <n>', 'threads (default: every core this process may use)')
    .addOption(new Option('--peer <name>', 'library to time in turn with ours').choices(['torch']))
    .option('--json', 'print the rows as JSON')
    .addHelpText('after', '\nExample:\n  einlinear bench layers --peer torch --d 1024')
    .action((flags: BenchFlags) => bench(io, flags));
}
