import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

// The trap native/cpu/isa.h describes: a weak symbol that two instruction sets' copies share is kept
// once by the linker, maybe as machine code that this processor cannot run.

const root = path.resolve(__dirname, '..', '..');
const tree = path.join(root, '.build', 'native', 'CMakeFiles');
const isas = ['portable', 'avx2', 'avx512'];

function objectFiles(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.o'))
    .map((name) => path.join(folder, name));
}

interface Symbol {
  kind: string;
  name: string;
}

function definedSymbols(object: string): Symbol[] {
  const { status, stdout, stderr } = spawnSync('nm', ['--demangle', '--defined-only', object], {
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`nm ${object}: ${stderr}`);
  return stdout
    .split('\n')
    .map((line) => /^[0-9a-f]* +(\S) (.*)$/.exec(line))
    .filter((match) => match !== null)
    .map(([, kind, name]) => ({ kind: kind, name: name }));
}

// Weak functions, weak objects and GNU-unique objects. DW.ref.* is a pointer without code.
const isShared = ({ kind, name }: Symbol): boolean =>
  'WwVvu'.includes(kind) && !name.startsWith('DW.ref.');

const built = isas
  .map((isa) => ({ isa, objects: objectFiles(path.join(tree, `einlinear_cpu_${isa}.dir`)) }))
  .filter(({ objects }) => objects.length > 0);
// Where the addon came as a prebuild, or on a system without nm, there is nothing to look at.
const canLook = built.length > 0 && spawnSync('nm', ['--version']).status === 0;

(canLook ? describe : describe.skip)('objects compiled once per instruction set', () => {
  test('exist for every instruction set of the processor family', () => {
    expect(built.map(({ isa }) => isa)).toEqual(process.arch === 'x64' ? isas : ['portable']);
    expect(new Set(built.map(({ objects }) => objects.length)).size).toBe(1);
  });

  test.each(built)('$isa defines nothing that another copy could share', ({ isa, objects }) => {
    const offenders = objects.flatMap((object) =>
      definedSymbols(object)
        .filter((symbol) => isShared(symbol) && !symbol.name.includes(`einlinear::cpu::${isa}::`))
        .map(({ name }) => `${path.basename(object)}: ${name}`),
    );
    expect(offenders).toEqual([]);
  });
});
