import { InvalidArgumentError, type Command } from 'commander';

import { EinlinearError } from '../errors';
import { parseStructure } from '../structure';

/** An error about the flags: exit status 2. */
export function flagError(message: string, details: Record<string, unknown> = {}): EinlinearError {
  return new EinlinearError('INVALID_FLAG', message, details);
}

/** Reads a whole number of at least `least`. */
export function wholeNumber(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`Expected a whole number of at least ${least}.`);
    }
    return value;
  };
}

/** Reads a number from `low` to `high`. */
export function numberWithin(low: number, high: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === '' || !(value >= low && value <= high) || !Number.isFinite(value)) {
      const range = high === Infinity ? `of at least ${low}` : `from ${low} to ${high}`;
      throw new InvalidArgumentError(`Expected a number ${range}.`);
    }
    return value;
  };
}

/** Reads one of a few words. */
export function oneOf<T extends string>(...words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((candidate) => candidate === text);
    if (word === undefined) throw new InvalidArgumentError(`Expected ${words.join(' or ')}.`);
    return word;
  };
}

/** Checks a structure's text. */
export function structureText(text: string): string {
  try {
    parseStructure(text);
  } catch (error) {
    throw new InvalidArgumentError((error as Error).message);
  }
  return text;
}

/** Refuses a flag of a command that is given twice with different values: which of them is meant, nobody can tell. */
export function refuseContradictions(command: Command): void {
  for (const option of command.options) {
    let before: string | undefined;
    command.on(`option:${option.name()}`, (value?: string) => {
      if (before !== undefined && value !== before) {
        throw flagError(`${option.long} ${value} contradicts ${option.long} ${before}`, {
          flag: option.long,
          values: [before, value],
        });
      }
      before = value;
    });
  }
  command.commands.forEach(refuseContradictions);
}

/** Whether the user gave an option himself. */
export function isGiven(command: Command, name: string): boolean {
  return command.getOptionValueSource(name) === 'cli';
}

/** The flag of an option, as the user writes it: dModel → --d-model. */
export function flagOf(command: Command, name: string): string {
  return command.options.find((option) => option.attributeName() === name)?.long ?? `--${name}`;
}
