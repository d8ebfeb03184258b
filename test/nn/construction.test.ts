import { EinlinearError } from '../../lib/errors';
import { FeedForward } from '../../lib/models';
import { createLinear, GroupedLinear, Linear, matrix, MoE, type Module } from '../../lib/nn';
import { device, type Device } from '../../lib/tensor';

// A layer that memory runs out for leaves nothing behind, whichever of its parameters was the one
// that did not fit.

const fans = { fanIn: 16, fanOut: 16 };
const layers: [string, (on: Device) => Module][] = [
  ['Linear', (on) => new Linear(16, 16, { device: on })],
  [
    'GroupedLinear',
    (on) => new GroupedLinear(2, 16, 16, 1, matrix(fans), { bias: true, device: on }),
  ],
  ['MoE', (on) => new MoE(16, { experts: 2, bias: true, device: on })],
  [
    'FeedForward',
    (on) =>
      new FeedForward(16, {
        up: 'btt',
        down: 'btt',
        hidden: 64,
        bias: true,
        gelu: 'none',
        dropout: 0,
        baseDModel: 16,
        baseHidden: 64,
        device: on,
      }),
  ],
  ...['btt', 'btt-moe:experts=2,k=1', 'dense-moe:experts=2,k=1', 'low-rank-moe:experts=2,k=1'].map(
    (name): [string, (on: Device) => Module] => [
      name,
      (on) => createLinear(name, 16, 16, { device: on }),
    ],
  ),
];

test.each(layers)('%s', (_name, make) => {
  const on = device('cpu', { threads: 1 });
  const allocate = on.allocate.bind(on);
  let left = Infinity;
  on.allocate = (size) => {
    left -= 1;
    if (left === 0) throw new EinlinearError('OUT_OF_MEMORY', 'injected');
    return allocate(size);
  };
  let failures = 0;
  for (let nth = 1; ; nth++) {
    left = nth;
    let made: Module | null = null;
    try {
      made = make(on);
    } catch (error) {
      expect(error).toMatchObject({ message: 'injected' });
    }
    made?.dispose();
    expect(on.memory()).toMatchObject({ tensors: 0, bytes: 0 });
    if (made !== null) break;
    failures += 1;
  }
  expect(failures).toBeGreaterThan(1);
  on.close();
});
