import type { Command } from 'commander';

import { prepareText } from '../data';
import { numberWithin } from './flags';
import { formatCount, formatPairs } from './format';
import type { CommandIO } from './io';
import { isPath } from './source';

interface PrepareFlags {
  out: string;
  validationFraction: number;
  json?: true;
}

/** Adds `prepare`. */
export function addPrepareCommand(program: Command, io: CommandIO): void {
  program
    .command('prepare')
    .summary('turn text into token files')
    .description(
      'Turn text into train.bin, val.bin and meta.json: one byte a character, newline and printable ASCII. ' +
        'Every line is a document; one with any other symbol is dropped.',
    )
    .argument('<source>', 'text file, folder of texts, or data set: sotu')
    .requiredOption('--out <folder>', 'where the files go')
    .option(
      '--validation-fraction <x>',
      'share held out, whole documents from all over the text',
      numberWithin(0.0001, 0.9999),
      0.1,
    )
    .option('--json', 'print the result as JSON')
    .addHelpText('after', '\nExample:\n  einlinear prepare sotu --out data/sotu\n')
    .action(async (source: string, { out, validationFraction, json }: PrepareFlags) => {
      await isPath(source);
      const result = await prepareText(source, out, { validationFraction, signal: io.signal });
      if (json) {
        io.stdout.write(`${JSON.stringify(result)}\n`);
        return;
      }
      const { tokens, documents } = result;
      const part = (split: 'train' | 'val') =>
        `${formatCount(tokens[split])} tokens, ${formatCount(documents[split])} documents`;
      io.stdout.write(
        `${formatPairs([
          ['folder', out],
          ['train.bin', part('train')],
          ['val.bin', part('val')],
          ['dropped', `${formatCount(documents.dropped)} documents with other symbols`],
        ])}\n`,
      );
    });
}
