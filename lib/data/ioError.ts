import { EinlinearError } from '../errors';

/** What to do about the causes of a failed write that people meet most. */
const REMEDIES: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full; free some space',
  EDQUOT: 'the disk quota is used up; free some space',
  EFBIG: 'the file would exceed the size limit of this process (see ulimit -f)',
  EACCES: 'permission denied',
  EROFS: 'the file system is read-only',
  ENOENT: 'no such file or folder',
  ENOTDIR: 'a part of the path is a file, not a folder',
};

/** Turns a failure of the file system into an `EinlinearError` with code `IO`. */
export function ioError(action: string, path: string, cause: unknown): EinlinearError {
  if (cause instanceof EinlinearError) return cause;
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = (code !== undefined && REMEDIES[code]) || message;
  return new EinlinearError('IO', `Could not ${action} ${path}: ${reason}`, {
    path,
    systemCode: code,
    cause: message,
  });
}
