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
