import { readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import nodeGypBuild from 'node-gyp-build';
import { EinlinearError } from '../errors';
import type { NativeBinding } from './binding';

const PACKAGE_ROOT = resolve(__dirname, '..', '..');
const requireNative = createRequire(__filename);

interface Attempt {
  path: string;
  reason: string;
}

function filesOf(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}

/** Prebuilt binaries that may run here, the most specific first (node-gyp-build's convention). */
function prebuilds(root: string): string[] {
  const tuple = filesOf(join(root, 'prebuilds'))
    .map(nodeGypBuild.parseTuple)
    .filter(nodeGypBuild.matchTuple(process.platform, process.arch))
    .filter((t) => t !== undefined)
    .sort(nodeGypBuild.compareTuples)
    .at(0);
  if (tuple === undefined) return [];
  const folder = join(root, 'prebuilds', tuple.name);
  return filesOf(folder)
    .map(nodeGypBuild.parseTags)
    .filter(nodeGypBuild.matchTags('node', process.versions.modules))
    .filter((t) => t !== undefined)
    .sort(nodeGypBuild.compareTags('node'))
    .map((tags) => join(folder, tags.file));
}

function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split('\n')[0] ?? text;
}

/**
 * Loads the addon: a local build first (`build/Release`, in a checkout), then a prebuilt binary. The
 * environment variable EINLINEAR_BINARY names another one to load instead (a sanitizer build, say).
 *
 * @param root folder of the package
 * @throws BACKEND_UNAVAILABLE with every path tried, why it failed, and what to do about it
 */
export function loadBinding(root: string = PACKAGE_ROOT): NativeBinding {
  const attempts: Attempt[] = [];
  const built = join(root, 'build', 'Release', 'einlinear.node');
  const prebuilt = prebuilds(root);
  const chosen = process.env.EINLINEAR_BINARY;
  for (const path of chosen ? [chosen] : [built, ...prebuilt]) {
    try {
      const binding = requireNative(path) as NativeBinding;
      binding.setErrorClass(EinlinearError);
      return binding;
    } catch (error) {
      attempts.push({ path, reason: reasonOf(error) });
    }
  }
  if (prebuilt.length === 0) {
    attempts.push({
      path: join(root, 'prebuilds', `${process.platform}-${process.arch}`),
      reason: `holds no binary for ${process.platform}-${process.arch}, Node ${process.version}`,
    });
  }
  throw new EinlinearError(
    'BACKEND_UNAVAILABLE',
    [
      'The native addon of einlinear could not be loaded. Tried:',
      ...attempts.map(({ path, reason }) => `  - ${path}: ${reason}`),
      'What may help:',
      '  1. Build it: in the package folder run `cmake -S . -B .build/native && cmake --build .build/native` (needs a C++17 compiler and CMake).',
      '  2. Reinstall the package on this machine; do not copy node_modules from another platform.',
      `  3. Use a platform with a prebuilt binary, or another Node version (this is ${process.version}, 20 or newer is needed).`,
    ].join('\n'),
    { attempts },
  );
}

let binding: NativeBinding | null = null;

/** The addon, loaded at the first use. */
export function native(): NativeBinding {
  binding ??= loadBinding();
  return binding;
}
