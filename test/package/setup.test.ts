import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(__dirname, '..', '..');

/** Runs checkTools with only the given programs (shell scripts by name) to be found. */
function checkToolsWith(
  programs: Record<string, string>,
  isRoot = false,
): { status: number | null; text: string } {
  const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'einlinear-tools-'));
  try {
    for (const [name, script] of Object.entries(programs)) {
      fs.writeFileSync(path.join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    }
    const program = `import { checkTools } from ${JSON.stringify(path.join(root, 'scripts/lib/tools.mjs'))};
      try { checkTools({ isRoot: ${isRoot} }) } catch (error) { console.log(error.message); process.exitCode = 1 }`;
    const { CXX: _, ...rest } = process.env;
    const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
      env: { ...rest, PATH: bin },
      encoding: 'utf8',
    });
    return { status, text: stdout };
  } finally {
    fs.rmSync(bin, { recursive: true });
  }
}

const cmake = 'echo cmake version 3.25.1';
const all = { cmake, 'c++': 'exit 0', make: 'exit 0' };

(process.platform === 'linux' ? describe : describe.skip)('set-up without its tools', () => {
  test('is content when everything is there', () => {
    expect(checkToolsWith(all)).toEqual({ status: 0, text: '' });
  });

  test('names each missing tool and the command that installs them all', () => {
    const { status, text } = checkToolsWith({ 'apt-get': 'exit 0' });
    expect(status).toBe(1);
    expect(text).toContain('CMake 3.18 or newer');
    expect(text).toContain('C++17 compiler');
    expect(text).toContain('make or ninja');
    expect(text).toContain('sudo apt-get install cmake g++ make');
  });

  test('names only what is missing, for the package manager at hand', () => {
    const { cmake: _, ...others } = all;
    const { text } = checkToolsWith({ ...others, dnf: 'exit 0' });
    expect(text).toContain('sudo dnf install cmake\n');
    expect(text).not.toContain('compiler');
  });

  test('sees that CMake is too old', () => {
    const { text } = checkToolsWith({ ...all, cmake: 'echo cmake version 3.10.2' });
    expect(text).toContain('CMake 3.18 or newer');
  });

  test('sees that the compiler does not know C++17', () => {
    const { text } = checkToolsWith({ ...all, 'c++': 'exit 1', 'apt-get': 'exit 0' });
    expect(text).toContain('sudo apt-get install g++');
  });

  test('gives advice without a known package manager', () => {
    expect(checkToolsWith({}).text).toContain('with the package manager of this system');
    expect(checkToolsWith({}).text).toContain('(apt-get, dnf, apk, pacman, brew)');
  });

  test('asks for no more rights than it takes', () => {
    expect(checkToolsWith({ apk: 'exit 0' }, true).text).toContain('with: apk add cmake g++ make');
    expect(checkToolsWith({ brew: 'exit 0' }).text).toContain('with: brew install cmake');
  });

  test('looks for its tools before it installs packages', () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'einlinear-clone-'));
    try {
      fs.cpSync(path.join(root, 'scripts'), path.join(folder, 'scripts'), { recursive: true });
      fs.writeFileSync(path.join(folder, 'package-lock.json'), '{"packages":{}}');
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [path.join(folder, 'scripts', 'setup.mjs')],
        { env: { PATH: path.join(folder, 'nothing') }, encoding: 'utf8' },
      );
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
      expect(stderr).toContain('CMake 3.18 or newer');
    } finally {
      fs.rmSync(folder, { recursive: true });
    }
  });
});
