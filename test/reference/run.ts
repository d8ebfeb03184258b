import { fork, type ChildProcess } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { isCase, runCase, type CaseResult } from './runCase';

/** Failures of a case that are printed; the others are counted. */
const SHOWN = 5;
/** Makes this program run the cases it is sent. */
const SERVE = '--serve';

function format({ name, error, what, failures }: CaseResult): string {
  const worst = `worst relative error ${error.toExponential(2)} (${what})`;
  if (failures.length === 0) return `passed  ${name}  ${worst}`;
  const more = failures.length > SHOWN ? `; and ${failures.length - SHOWN} more` : '';
  return `FAILED  ${name}  ${worst}: ${failures.slice(0, SHOWN).join('; ')}${more}`;
}

/** Runs cases in a process of their own, so that one which brings it down fails alone. */
class CaseProcess {
  #child: ChildProcess | null = null;

  run(path: string): Promise<CaseResult> {
    const child = (this.#child ??= fork(__filename, [SERVE], { serialization: 'advanced' }));
    return new Promise((done) => {
      const finish = (result: CaseResult): void => {
        child.removeAllListeners();
        done(result);
      };
      child.once('message', (result) => finish(result as CaseResult));
      child.once('exit', (code, signal) => {
        this.#child = null;
        const failures = [`the process ended with ${signal ?? `status ${code}`}`];
        finish({ name: basename(path), error: NaN, what: 'not run to its end', failures });
      });
      child.send(path);
    });
  }

  close(): void {
    this.#child?.disconnect();
  }
}

/** Says why there are no cases to run. The closing line counts that as a failure. */
function refuse(message: string, status: number): number {
  console.error(message);
  console.log('0 passed, 1 failed');
  return status;
}

async function main(args: string[]): Promise<number> {
  if (args.length > 1) {
    return refuse(`Expected at most one folder, got ${args.length}: ${args.join(' ')}`, 2);
  }
  const folder = resolve(args[0] ?? join('test', 'reference', 'cases'));
  let files: string[];
  try {
    files = readdirSync(folder).filter(isCase).sort();
  } catch (error) {
    return refuse(`Expected a folder of cases, got ${folder}: ${String(error)}`, 2);
  }
  if (files.length === 0) {
    return refuse(`Expected *.safetensors or laws.json in ${folder}, got none`, 1);
  }
  const cases = new CaseProcess();
  let failed = 0;
  for (const file of files) {
    const result = await cases.run(join(folder, file));
    if (result.failures.length > 0) failed += 1;
    console.log(format(result));
  }
  cases.close();
  console.log(`${files.length - failed} passed, ${failed} failed`);
  return failed > 0 ? 1 : 0;
}

if (process.argv[2] === SERVE) {
  process.on('message', (path: string) => process.send?.(runCase(path)));
} else {
  void main(process.argv.slice(2)).then((status) => {
    process.exitCode = status;
  });
}
