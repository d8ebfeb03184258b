import { EinlinearError } from '../errors';

/** What a scope can hold: tensors. */
export interface Scoped {
  scope: Scope | null;
  dispose(): void;
}

/** The tensors created while one tidy() runs. */
export class Scope {
  readonly members = new Set<Scoped>();
  constructor(readonly parent: Scope | null) {}
}

let current: Scope | null = null;

/** Puts a new tensor into the innermost scope, if there is one. */
export function enterScope(member: Scoped): void {
  member.scope = current;
  current?.members.add(member);
}

/** Takes a tensor out of the scope it is in: nobody but its owner disposes it any more. */
export function leaveScope(member: Scoped): void {
  member.scope?.members.delete(member);
  member.scope = null;
}

/** Runs `body` outside every scope: what it creates lives until it is disposed. */
export function unscoped<T>(body: () => T): T {
  const before = current;
  current = null;
  try {
    return body();
  } finally {
    current = before;
  }
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' &&
    value !== null &&
    'then' in value &&
    typeof value.then === 'function'
  );
}

/** Promises nobody will await must not end the process when they reject. */
export function refusePromise(name: string, value: unknown): void {
  if (!isPromise(value)) return;
  value.then(undefined, () => undefined);
  throw new EinlinearError(
    'INVALID_ARGUMENT',
    `Expected the function given to ${name} to be synchronous, got one that returns a promise`,
  );
}

/** Moves the members of `scope` found in a result (however nested) to its parent. */
function promote(value: unknown, scope: Scope, seen: Set<object>): void {
  if (typeof value !== 'object' || value === null || seen.has(value)) return;
  seen.add(value);
  const member = value as Scoped;
  if (scope.members.delete(member)) {
    member.scope = scope.parent;
    scope.parent?.members.add(member);
    return;
  }
  if (value instanceof Map || value instanceof Set) {
    for (const item of value.values()) promote(item, scope, seen);
  } else if (Array.isArray(value)) {
    for (const item of value) promote(item, scope, seen);
  } else {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === null || Object.getPrototypeOf(prototype) === null) {
      for (const item of Object.values(value)) promote(item, scope, seen);
    }
  }
}

/**
 * Runs `body` and disposes every tensor it created, except those it returns (a tensor, or arrays,
 * objects, maps and sets of them), which then belong to the enclosing tidy, if any. When `body`
 * throws, everything it created is disposed. Gradients of leaves and tensors that were kept are not
 * touched; what the tape saved for backward stays as long as a surviving tensor needs it.
 *
 * @throws INVALID_ARGUMENT when `body` returns a promise: a scope ends when the call does
 */
export function tidy<T>(body: () => T): T {
  const scope = new Scope(current);
  current = scope;
  try {
    const result = body();
    refusePromise('tidy', result);
    promote(result, scope, new Set());
    return result;
  } finally {
    current = scope.parent;
    for (const member of scope.members) {
      member.scope = null;
      member.dispose();
    }
    scope.members.clear();
  }
}
