import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { ZodError } from 'zod';
import { CaseFile } from './caseFile';
import { Checker } from './checker';
import { checkBTTMoE, checkBTTNorm, checkFfnMoE, checkLinear, checkRejected } from './layerCase';
import { checkLaws, lawsCase } from './laws';
import { checkGPT, checkMLP, checkPixelTransformer } from './modelCase';

/** How one case went. */
export interface CaseResult {
  name: string;
  /** Worst relative error over all comparisons; NaN if something was not a number. */
  error: number;
  /** What had the worst error. */
  what: string;
  /** Why the case failed; empty if it passed. */
  failures: string[];
}

const KINDS: Readonly<Record<string, (file: CaseFile, checker: Checker) => void>> = {
  linear: checkLinear,
  rejected: checkRejected,
  btt_norm: checkBTTNorm,
  btt_moe: checkBTTMoE,
  ffn_moe: checkFfnMoE,
  gpt: checkGPT,
  mlp: checkMLP,
  ar_transformer: checkPixelTransformer,
};

/** Whether a file of a folder is a case. */
export function isCase(file: string): boolean {
  return file.endsWith('.safetensors') || basename(file) === 'laws.json';
}

/** Runs one case; whatever it throws is its failure. */
export function runCase(path: string): CaseResult {
  const name = basename(path).replace(/\.safetensors$/, '');
  try {
    if (path.endsWith('.json')) return { name, ...runLaws(path) };
    const file = new CaseFile(path);
    const check = Object.hasOwn(KINDS, file.kind) ? KINDS[file.kind] : undefined;
    if (check === undefined) throw new Error(`unknown kind '${file.kind}'`);
    const checker = new Checker();
    check(file, checker);
    const { error, what } = checker.worst;
    return { name, error, what, failures: checker.failures };
  } catch (error) {
    return { name, error: NaN, what: 'not run to its end', failures: [inOneLine(error)] };
  }
}

/** What went wrong, as the one line that a case has. */
function inOneLine(error: unknown): string {
  if (error instanceof ZodError) {
    return error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  }
  return (error instanceof Error ? error.message : String(error)).replaceAll(/\s*\n\s*/g, ' ');
}

function runLaws(path: string): Omit<CaseResult, 'name'> {
  const laws = lawsCase.parse(JSON.parse(readFileSync(path, 'utf8')));
  const { worstRelativeError, failures } = checkLaws(laws);
  return { error: worstRelativeError, what: 'taxonomy and fits', failures };
}
