import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A function that gives a path in a folder of the suite's own, which is removed at its end. */
export function temporaryFolder(): (...parts: string[]) => string {
  const root = mkdtempSync(join(tmpdir(), 'einlinear-test-'));
  afterAll(() => {
    rmSync(root, { recursive: true, force: true });
  });
  return (...parts) => join(root, ...parts);
}
