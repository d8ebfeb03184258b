// Runs Jest and says how many tests passed.
import fs from 'node:fs';
import path from 'node:path';
import { at, runNode } from './project.mjs';

/** Throws (with `passed` and `failed` on the error) when a test fails or none ran. */
export function runJest(args = [], { env = {}, report = 'jest' } = {}) {
  const output = at('.build', `${report}.json`);
  fs.mkdirSync(path.dirname(output), { recursive: true });
  fs.rmSync(output, { force: true });
  let failure;
  try {
    runNode('node_modules/jest/bin/jest.js', ['--json', `--outputFile=${output}`, ...args], {
      env,
    });
  } catch (error) {
    failure = error;
  }
  const counts = countsOf(output);
  if (failure || counts.failed > 0) {
    throw Object.assign(new Error(failure?.message ?? `${counts.failed} tests failed`), counts);
  }
  return counts;
}

function countsOf(output) {
  if (!fs.existsSync(output)) return { passed: 0, failed: 1 };
  const report = JSON.parse(fs.readFileSync(output, 'utf8'));
  return {
    passed: report.numPassedTests,
    // A suite that does not even load fails without a failed test.
    failed: report.numFailedTests + report.numRuntimeErrorTestSuites,
  };
}
