import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

const root = path.resolve(__dirname, '..', '..');

interface Packed {
  files: { path: string }[];
}

function packedFiles(): string[] {
  const { status, stdout, stderr } = spawnSync('npm', ['pack', '--dry-run', '--json'], {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (status !== 0) throw new Error(`npm pack: ${stderr}`);
  const answer = JSON.parse(stdout) as Packed[] | Record<string, Packed>;
  const [packed] = Object.values(answer);
  return packed.files.map((file) => file.path);
}

function filesBelow(folder: string): string[] {
  return fs
    .readdirSync(path.join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => path.relative(root, path.join(entry.parentPath, entry.name)));
}

describe('the published package', () => {
  const files = packedFiles();
  const manifest = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    gypfile: boolean;
    scripts: Record<string, string>;
    main: string;
    types: string;
    bin: Record<string, string>;
  };

  test('never makes npm compile on the machine of a user', () => {
    expect(files).not.toContain('binding.gyp');
    expect(manifest.gypfile).toBe(false);
    for (const hook of ['preinstall', 'install', 'postinstall', 'prepare']) {
      expect(manifest.scripts[hook]).toBeUndefined();
    }
  });

  test('holds what its manifest points to', () => {
    expect(files).toEqual(
      expect.arrayContaining([manifest.main, manifest.types, manifest.bin.einlinear]),
    );
    expect(files).toEqual(expect.arrayContaining(['README.md', 'LICENSE', 'CHANGELOG.md']));
  });

  test('holds every native source, so that it can be built where no prebuild runs', () => {
    expect(files).toContain('CMakeLists.txt');
    expect(files).toEqual(expect.arrayContaining(filesBelow('native')));
  });

  test('holds every compiled module and its types', () => {
    const modules = filesBelow('lib').filter(
      (name) => name.endsWith('.ts') && !name.endsWith('.d.ts'),
    );
    const compiled = modules.map((name) => name.replace(/^lib/, 'dist').replace(/\.ts$/, ''));
    expect(files).toEqual(
      expect.arrayContaining(compiled.flatMap((name) => [`${name}.js`, `${name}.d.ts`])),
    );
  });

  test('holds nothing else', () => {
    const known =
      /^(dist|prebuilds|native|scripts\/peers)\/|^(package\.json|CMakeLists\.txt|(README|CHANGELOG)\.md|LICENSE)$/;
    expect(files.filter((name) => !known.test(name))).toEqual([]);
    expect(files.filter((name) => name.endsWith('.map') || name.includes('.test.'))).toEqual([]);
  });
});
