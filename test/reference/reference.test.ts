import { spawnSync } from 'node:child_process';
import {
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
  copyFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { memory } from '../../lib/tensor';
import { readSafetensorsSync, writeSafetensors } from '../../lib/train/safetensors';
import { isCase, runCase } from './runCase';

const CASES = join(__dirname, 'cases');
const files = readdirSync(CASES).filter(isCase);

test('there are cases of all kinds', () => {
  expect(files).toHaveLength(140);
});

test.each(files)('%s', (file) => {
  expect(runCase(join(CASES, file)).failures).toEqual([]);
});

test('the cases leave no memory behind', () => {
  const before = memory();
  expect(runCase(join(CASES, 'gpt.ffn_moe.safetensors')).failures).toEqual([]);
  expect(runCase(join(CASES, 'btt_moe.64x64.E4k2.safetensors')).failures).toEqual([]);
  const after = memory();
  expect({ tensors: after.tensors, bytes: after.bytes }).toEqual({
    tensors: before.tensors,
    bytes: before.bytes,
  });
});

describe('what must fail', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'einlinear-cases-'));
  });
  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  async function altered(
    file: string,
    change: (file: ReturnType<typeof readSafetensorsSync>) => unknown,
  ): Promise<string[]> {
    const content = readSafetensorsSync(join(CASES, file));
    change(content);
    const path = join(folder, file);
    await writeSafetensors(path, content.tensors, content.metadata);
    return runCase(path).failures;
  }

  const setCase = (metadata: Record<string, string>, values: object): void => {
    const meta = JSON.parse(metadata.case) as object;
    metadata.case = JSON.stringify({ ...meta, ...values });
  };

  test('an unknown kind', async () => {
    const failures = await altered('btt_norm.64x64.r1.safetensors', ({ metadata }) =>
      setCase(metadata, { kind: 'toString' }),
    );
    expect(failures).toEqual([`unknown kind 'toString'`]);
  });

  test.each(['y', 'dx', 'dA', 'dB', 'dbias', 'dgain0'])('a wrong %s', async (name) => {
    const failures = await altered('btt_norm.64x64.r1.safetensors', ({ tensors }) => {
      const data = tensors.get(name)!.data as Float32Array;
      for (let i = 0; i < data.length; i++) data[i] *= 1 + 1e-4;
    });
    expect(failures).toHaveLength(1);
    expect(failures[0]).toContain(`${name}: relative error`);
  });

  test('NaN in the reference', async () => {
    const failures = await altered('btt_norm.64x64.r1.safetensors', ({ tensors }) => {
      tensors.get('y')!.data[3] = NaN;
    });
    expect(failures[0]).toContain('y: relative error NaN');
    // Comparisons after it do not hide it.
    expect(runCase(join(folder, 'btt_norm.64x64.r1.safetensors')).error).toBeNaN();
  });

  test.each([
    'ar_transformer.einsum_btt',
    'gpt.dense',
    'btt_moe.64x64.E4k2',
    'btt_norm.64x64.r1',
    'ffn_moe.d32.E4k2',
    'linear.btt_full_1_2.36x36.norm',
    'mlp.dense',
  ])('%s without any one of its tensors', async (name) => {
    const file = `${name}.safetensors`;
    const { tensors } = readSafetensorsSync(join(CASES, file));
    const passing: string[] = [];
    for (const removed of tensors.keys()) {
      const failures = await altered(file, (content) => content.tensors.delete(removed));
      if (failures.length === 0) passing.push(removed);
    }
    expect(passing).toEqual([]);
  });

  test('what is no case says so in one line', async () => {
    const without = await altered('btt_norm.64x64.r1.safetensors', ({ metadata }) => {
      delete metadata.case;
    });
    expect(without).toEqual([`Expected the JSON of the case as 'case' in __metadata__, got none`]);
    const partial = await altered('btt_norm.64x64.r1.safetensors', ({ metadata }) => {
      metadata.case = '{"kind":"btt_norm","d_in":64}';
    });
    expect(partial).toEqual([expect.stringMatching(/^d_out: .*; rank: .*$/)]);
    const laws = join(folder, 'laws.json');
    for (const text of ['{}', '[]', '{\n"theta_order": 1,\n"taxonomy": []}', '{']) {
      writeFileSync(laws, text);
      const { failures } = runCase(laws);
      expect(failures).toEqual([expect.stringMatching(/^.+$/)]);
    }
    writeFileSync(laws, '{}');
    expect(runCase(laws).failures[0]).toMatch(/theta_order: .*taxonomy: .*fits: /);
  });

  test.each(['nothing', 'file'])(
    'a folder that is none, in the closing line: %s',
    (name) => {
      writeFileSync(join(folder, 'file'), '');
      const script = join(__dirname, '..', '..', 'scripts', 'reference.mjs');
      const { status, stdout, stderr } = spawnSync(process.execPath, [script, join(folder, name)], {
        encoding: 'utf8',
      });
      expect(status).toBe(2);
      expect(stdout).toMatch(/^0 passed, 1 failed\n$/m);
      expect(stderr).toContain(join(folder, name));
    },
    60_000,
  );

  test('a point that is not refused', async () => {
    const file = 'linear.generic.36x36.raw.rejected.safetensors';
    const failures = await altered(file, ({ metadata }) =>
      setCase(metadata, { d_in: 64, d_out: 64 }),
    );
    expect(failures[0]).toContain('to be refused, it was not');
  });

  test('other fans, multipliers and groups', async () => {
    const linear = await altered('linear.kron.64x64.raw.safetensors', ({ metadata }) =>
      setCase(metadata, {
        core_fans: [
          [8, 8],
          [8, 9],
        ],
        adam_lr_mult: [4, 4.001],
      }),
    );
    expect(linear).toHaveLength(2);
    const gpt = await altered('mlp.dense.safetensors', ({ metadata }) => {
      const { parameter_groups: groups } = JSON.parse(metadata.case) as {
        parameter_groups: { lr_multiplier: number }[];
      };
      groups[0].lr_multiplier = 2;
      setCase(metadata, { parameter_groups: groups });
    });
    expect(gpt).toEqual([expect.stringContaining('multiplier of input_layer.weight')]);
  });

  test('a broken file, and one without its tensors', async () => {
    const path = join(folder, 'broken.safetensors');
    copyFileSync(join(CASES, 'btt_norm.64x64.r1.safetensors'), path);
    truncateSync(path, 1000);
    expect(runCase(path).failures).toHaveLength(1);
    writeFileSync(path, '');
    expect(runCase(path).failures).toHaveLength(1);
    const failures = await altered('btt_norm.64x64.r1.safetensors', ({ tensors }) => {
      tensors.delete('dx');
    });
    expect(failures).toEqual([`Expected a tensor 'dx' in the case`]);
  });
});
