// What a machine must have before anything can be built, and how to get it.
import fs from 'node:fs';
import { outputOf } from './project.mjs';

const installers = [
  {
    program: 'apt-get',
    command: 'apt-get install',
    cmake: 'cmake',
    compiler: 'g++',
    make: 'make',
  },
  {
    program: 'dnf',
    command: 'dnf install',
    cmake: 'cmake',
    compiler: 'gcc-c++',
    make: 'make',
  },
  { program: 'apk', command: 'apk add', cmake: 'cmake', compiler: 'g++', make: 'make' },
  { program: 'pacman', command: 'pacman -S', cmake: 'cmake', compiler: 'gcc', make: 'make' },
  {
    program: 'brew',
    command: 'brew install',
    cmake: 'cmake',
    compiler: 'llvm',
    make: 'make',
    forUsers: true,
  },
];

function onPath(program) {
  const folders = (process.env.PATH ?? '').split(process.platform === 'win32' ? ';' : ':');
  return folders.some((folder) => folder !== '' && fs.existsSync(`${folder}/${program}`));
}

const cxx17 =
  '#include <optional>\nstatic_assert(__cplusplus >= 201703L);\nint main() { return 0; }\n';
const compiles = (compiler) =>
  outputOf(compiler, ['-std=c++17', '-x', 'c++', '-fsyntax-only', '-'], { input: cxx17 }) !== null;

function cmakeIsRecent() {
  const version = /(\d+)\.(\d+)/.exec(outputOf('cmake', ['--version']) ?? '');
  return version !== null && (Number(version[1]) > 3 || Number(version[2]) >= 18);
}

/** The command of a package manager, with what it takes to be allowed to install. */
const commandOf = ({ command, forUsers }, isRoot) =>
  isRoot || forUsers ? command : `sudo ${command}`;

/** Throws an error naming every missing tool and the command that installs it. */
export function checkTools({ isRoot = process.getuid?.() === 0 } = {}) {
  const missing = [];
  if (!cmakeIsRecent()) missing.push({ what: 'CMake 3.18 or newer', item: 'cmake' });
  const compilers = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean);
  if (!compilers.some(compiles))
    missing.push({ what: 'a C++17 compiler (GCC 9+ or Clang 10+)', item: 'compiler' });
  if (!onPath('make') && !onPath('ninja')) missing.push({ what: 'make or ninja', item: 'make' });
  if (missing.length === 0) return;

  const lines = missing.map(({ what }) => `  - ${what}`);
  const installer = installers.find(({ program }) => onPath(program));
  const remedy =
    process.platform === 'darwin' && missing.every(({ item }) => item !== 'cmake')
      ? 'xcode-select --install'
      : installer &&
        [commandOf(installer, isRoot), ...missing.map(({ item }) => installer[item])].join(' ');
  throw new Error(
    `einlinear needs, and did not find:\n${lines.join('\n')}\n` +
      (remedy
        ? `Install with: ${remedy}`
        : `No package manager known to this script is on the PATH (${installers.map(({ program }) => program).join(', ')}). ` +
          'Install these with the package manager of this system.'),
  );
}

export function checkNode() {
  if (Number(process.versions.node.split('.')[0]) >= 20) return;
  throw new Error(
    `einlinear needs Node.js 20 or newer; this is ${process.version}.\nInstall with: nvm install 20 (or see nodejs.org)`,
  );
}
