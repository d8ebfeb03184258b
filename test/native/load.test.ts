import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadBinding, native } from '../../lib/native';

describe('without a working addon', () => {
  let root: string;
  const chosen = process.env.EINLINEAR_BINARY;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'einlinear-load-'));
    delete process.env.EINLINEAR_BINARY;
  });
  afterEach(() => {
    rmSync(root, { recursive: true });
    if (chosen !== undefined) process.env.EINLINEAR_BINARY = chosen;
  });

  const failure = (): { code: string; message: string } => {
    try {
      loadBinding(root);
    } catch (error) {
      return error as { code: string; message: string };
    }
    throw new Error('expected a failure');
  };

  test('a missing addon lists every path and what to do', () => {
    const { code, message } = failure();
    expect(code).toBe('BACKEND_UNAVAILABLE');
    expect(message).toContain(join(root, 'build', 'Release', 'einlinear.node'));
    expect(message).toContain(join(root, 'prebuilds', `${process.platform}-${process.arch}`));
    expect(message).toMatch(/1\. .*\n\s*2\. .*\n\s*3\. /);
  });

  test('binaries that do not load are listed with their reasons', () => {
    const built = join(root, 'build', 'Release', 'einlinear.node');
    const folder = join(root, 'prebuilds', `${process.platform}-${process.arch}`);
    mkdirSync(join(root, 'build', 'Release'), { recursive: true });
    mkdirSync(folder, { recursive: true });
    writeFileSync(built, 'not a library');
    writeFileSync(join(folder, 'einlinear.node'), 'nor this');
    const { message } = failure();
    const lines = message.split('\n').filter((line) => line.startsWith('  - '));
    expect(lines).toHaveLength(2);
    expect(lines[0]).toContain(`${built}: `);
    expect(lines[1]).toContain(`${join(folder, 'einlinear.node')}: `);
  });
});

test('the addon knows its backends', () => {
  const cpu = native()
    .backends()
    .find(({ name }) => name === 'cpu');
  expect(cpu?.available).toBe(true);
});
