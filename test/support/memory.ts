import type { MemoryInfo } from '../../lib/tensor';
import { memory } from '../../lib/tensor';

/** Makes the suite fail when it leaves tensors or device memory behind. */
export function expectMemoryBack(): void {
  let before: MemoryInfo;
  beforeAll(() => {
    before = memory();
  });
  afterAll(() => {
    const { tensors, bytes } = memory();
    expect({ tensors, bytes }).toEqual({ tensors: before.tensors, bytes: before.bytes });
  });
}

/** How many tensors and bytes `body` leaves allocated. */
export function leftBy(body: () => void): Pick<MemoryInfo, 'tensors' | 'bytes'> {
  const before = memory();
  body();
  const after = memory();
  return { tensors: after.tensors - before.tensors, bytes: after.bytes - before.bytes };
}

export const NOTHING = { tensors: 0, bytes: 0 };
