import { stat } from 'node:fs/promises';

import { DATASETS, isDatasetName } from '../data';
import { EinlinearError } from '../errors';

/** Names of the data sets, as messages list them. */
export const DATASET_NAMES = Object.keys(DATASETS).join(', ');

/**
 * Whether what the user named as data is a file or folder; otherwise it is the name of a data set.
 *
 * @throws EinlinearError `IO` where it is neither
 */
export async function isPath(source: string): Promise<boolean> {
  const exists = await stat(source).then(
    () => true,
    () => false,
  );
  if (exists || isDatasetName(source)) return exists;
  throw new EinlinearError(
    'IO',
    `Expected a text file, a folder or a data set (${DATASET_NAMES}), found no ${source}`,
    { path: source },
  );
}
