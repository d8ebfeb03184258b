import { Command, CommanderError } from 'commander';

import { EinlinearError } from '../errors';
import { packageVersion } from '../train';
import { addBenchCommand } from './bench';
import { addDemoCommand } from './demo';
import { refuseContradictions } from './flags';
import { addInspectCommand } from './inspect';
import type { CommandIO } from './io';
import { addPrepareCommand } from './prepare';
import { addSampleCommand } from './sample';
import { addTaxonomyCommand } from './taxonomy';
import { addTrainCommand } from './train';

/** Exit statuses: those of shells and of other tools. */
const EXIT = { success: 0, failure: 1, usage: 2, interrupted: 130 } as const;

function buildProgram(io: CommandIO): Command {
  const program = new Command('einlinear')
    .description('Train neural networks with structured linear layers.')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) =>
        write(`${text.replace(/^error: /, 'einlinear: ').trimEnd()} [INVALID_FLAG]\n`),
    })
    .addHelpText(
      'after',
      '\nExample:\n  einlinear train sotu --structure btt-moe:experts=8,k=2 --out runs/moe\n',
    );
  addTrainCommand(program, io);
  addSampleCommand(program, io);
  addPrepareCommand(program, io);
  addInspectCommand(program, io);
  addTaxonomyCommand(program);
  addBenchCommand(program, io);
  addDemoCommand(program, io);
  refuseContradictions(program);
  return program;
}

function report(error: unknown, { stderr, env }: CommandIO): number {
  // Commander has said it already; asking for help is no error.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.success : EXIT.usage;
  if (!(error instanceof EinlinearError)) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    stderr.write(`einlinear: ${message} [INTERNAL]\n`);
    if (env.DEBUG) stderr.write(`${stack}\n`);
    return EXIT.failure;
  }
  stderr.write(`einlinear: ${error.message} [${error.code}]\n`);
  if (env.DEBUG) stderr.write(`${error.stack}\n`);
  if (error.code === 'INVALID_FLAG') return EXIT.usage;
  return error.code === 'ABORTED' ? EXIT.interrupted : EXIT.failure;
}

/**
 * Runs one command line.
 *
 * @param args arguments after the name of the program
 * @returns the exit status: 0, 1 after an error, 2 for wrong flags, 130 after Ctrl-C
 */
export async function runCommandLine(args: readonly string[], io: CommandIO): Promise<number> {
  try {
    await buildProgram(io).parseAsync([...args], { from: 'user' });
    return EXIT.success;
  } catch (error) {
    return report(error, io);
  }
}
