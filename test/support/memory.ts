import type { MemoryInfo } from '../../lib/tensor';
import { memory } from '../../lib/tensor';

/** What is live; not what a backend keeps for reuse, which changes when it likes. */
export function live(): Pick<MemoryInfo, 'tensors' | 'bytes'> {
  const { tensors, bytes } = memory();
  return { tensors, bytes };
}

/** Makes the suite fail when it leaves tensors or device memory behind. */
export function expectMemoryBack(): void {
  let before: ReturnType<typeof live>;
  beforeAll(() => {
    before = live();
  });
  afterAll(() => {
    expect(live()).toEqual(before);
  });
}

/** How many tensors and bytes `body` leaves allocated. */
export function leftBy(body: () => void): ReturnType<typeof live> {
  const before = live();
  body();
  const after = live();
  return { tensors: after.tensors - before.tensors, bytes: after.bytes - before.bytes };
}

export const NOTHING = { tensors: 0, bytes: 0 };
