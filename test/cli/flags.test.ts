import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { wrapText } from '../../lib/cli/format';
import { prose } from '../support/prose';
import { temporaryFolder } from '../support/temporaryFolder';
import { runCli } from './runCli';

const path = temporaryFolder();
const text = path('text.txt');

beforeAll(() => {
  writeFileSync(text, prose(300));
});

test('help of every command fits a screen and shows an example', async () => {
  for (const command of [[], ['train'], ['sample'], ['prepare'], ['inspect'], ['demo']]) {
    const { status, stdout, stderr } = await runCli([...command, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout.split('\n').length).toBeLessThan(50);
    expect(stdout).toMatch(/Example:\n {2}einlinear /);
  }
  expect((await runCli(['--version'])).stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
});

test('descriptions break where the terminal does, and nowhere else', async () => {
  for (const command of ['prepare', 'inspect', 'taxonomy', 'demo']) {
    const { stdout } = await runCli([command, '--help']);
    const description = stdout.split('\n\n')[1];
    const width = process.stdout.columns || 80;
    expect(description).toBe(wrapText(description.replaceAll('\n', ' '), width));
  }
});

test.each<[string, string[], RegExp]>([
  ['unknown flag', ['train', 'x', '--depth', '3'], /--depth/],
  ['unknown command', ['trian'], /trian.*train/s],
  ['too many arguments', ['inspect', 'a', 'b'], /too many/],
  ['missing argument', ['sample'], /missing.*run/],
  ['missing flag', ['prepare', 'x'], /--out/],
  ['no data', ['train'], /data/],
  ['no number', ['train', 'x', '--layers', 'three'], /--layers.*three.*whole number/],
  ['below its range', ['train', 'x', '--batch', '0'], /--batch.*'0'.*at least 1/],
  ['no fraction', ['train', 'x', '--dropout', '1.5'], /--dropout.*1\.5/],
  ['unknown structure', ['train', 'x', '--structure', 'bttt'], /--structure.*bttt/],
  ['k beyond experts', ['train', 'x', '--structure', 'btt-moe:experts=2,k=3'], /k.*3/],
  ['unknown schedule', ['train', 'x', '--schedule', 'step'], /--schedule.*step.*cosine/],
  ['unknown dtype', ['train', 'x', '--dtype', 'int4'], /--dtype.*int4.*float32/],
  ['unknown device', ['train', 'x', '--device', 'tpu'], /--device.*tpu.*cpu/],
  ['width and heads', ['train', 'x', '--d-model', '100'], /--d-model 100.*--head-dim 32/],
  [
    'warm-up beyond the end',
    ['train', 'x', '--steps', '5', '--warmup', '6'],
    /--warmup 6.*--steps 5/,
  ],
  [
    'constant with an end',
    ['train', 'x', '--schedule', 'constant', '--final-lr', '0'],
    /--final-lr.*--schedule/,
  ],
  [
    'two values for a flag',
    ['train', 'x', '--steps', '10', '--seed', '1', '--steps', '20'],
    /--steps 20 contradicts --steps 10/,
  ],
  [
    'two values for a flag of a nested command',
    ['bench', 'layers', '--d', '8', '--d', '16'],
    /--d 16 contradicts --d 8/,
  ],
  ['unknown layer', ['bench', 'layers', '--layers', 'dense,foo'], /--layers.*foo.*dense or/],
  ['no width', ['bench', 'layers', '--d', '8,0'], /--d.*8,0.*at least 1/],
  ['resume without a folder', ['train', '--resume'], /--resume.*--out/],
  [
    'greedy with top-k',
    ['sample', 'x', '--temperature', '0', '--top-k', '3'],
    /--top-k 3.*--temperature 0/,
  ],
])('refused by name: %s', async (_, args, message) => {
  const { status, stdout, stderr } = await runCli(args);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  expect(stderr).toMatch(message);
  expect(stderr).toMatch(/^einlinear: .*\[INVALID_FLAG\]\n/s);
  expect(stderr).not.toMatch(/\n\s+at /);
});

test('other errors say their code, with a stack only where one is asked for', async () => {
  const { status, stderr } = await runCli(['train', path('missing.txt')]);
  expect(status).toBe(1);
  expect(stderr).toMatch(/^einlinear: .*missing\.txt \[IO\]\n$/);
  const debug = await runCli(['train', path('missing.txt')], { env: { DEBUG: '1' } });
  expect(debug.stderr).toMatch(/\n\s+at /);
  writeFileSync(path('foreign.txt'), '\u65e5\u672c\u8a9e\n');
  const foreign = await runCli(['prepare', path('foreign.txt'), '--out', path('foreign')]);
  expect(foreign).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('[NO_DATA]') as string,
  });
});

test('the same value twice is no contradiction', async () => {
  const args = ['sample', path('missing'), '--seed', '3', '--seed', '3'];
  expect(await runCli(args)).toMatchObject({ status: 1 });
});

test('what is not there is named, with the data sets that a word could have meant', async () => {
  for (const args of [
    ['train', 'sotuu'],
    ['prepare', 'sotuu', '--out', path('never')],
  ]) {
    const { status, stderr } = await runCli(args);
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr:
        'einlinear: Expected a text file, a folder or a data set (sotu), found no sotuu [IO]\n',
    });
  }
  const { stderr } = await runCli(['sample', path('missing')]);
  expect(stderr).toMatch(/no such file or folder \[IO\]/);
});

test('one token file alone is named as the one that is there', async () => {
  for (const [there, missing] of [
    ['train.bin', 'val.bin'],
    ['val.bin', 'train.bin'],
  ]) {
    const folder = path(`only-${there}`);
    mkdirSync(folder);
    writeFileSync(join(folder, there), new Uint8Array(100));
    for (const data of [folder, join(folder, there)]) {
      const { status, stderr } = await runCli(['train', data, '--out', path('never')]);
      expect(status).toBe(1);
      expect(stderr).toContain(`Expected ${missing} beside ${there} in ${folder}`);
    }
  }
});

test.each<[string, string[], RegExp]>([
  ['no schedule for --final-lr', ['--final-lr', '0.5'], /--final-lr 0\.5 needs --schedule/],
  [
    'sizes that do not factor',
    [
      '--structure',
      '(0.25|0|0.75|0|0.75|0.25|0):rounding=paper',
      '--d-model',
      '36',
      '--head-dim',
      '12',
    ],
    /NOT_FACTORABLE/,
  ],
  ['a context beyond the text', ['--context', '100000'], /context \+ 1 = 100001/],
])('a refused run leaves nothing behind: %s', async (name, flags, message) => {
  const tokens = path('tokens');
  expect(await runCli(['prepare', text, '--out', tokens])).toMatchObject({ status: 0 });
  for (const data of [text, tokens]) {
    const out = path(`refused ${name}`);
    const { status, stderr } = await runCli(['train', data, ...flags, '--out', out]);
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
    expect(existsSync(out)).toBe(false);
  }
});

test('a resumed run refuses other settings with both values, and accepts the same ones', async () => {
  const tiny = '--layers 1 --d-model 16 --head-dim 8 --context 8 --batch 2 --eval-batches 1'.split(
    ' ',
  );
  const out = ['--out', path('run')];
  const first = await runCli([
    'train',
    text,
    ...tiny,
    ...out,
    '--steps',
    '3',
    '--structure',
    'btt',
  ]);
  expect(first).toMatchObject({ status: 0 });
  for (const [flags, message] of [
    [['--structure', 'dense'], /--structure dense.*btt/],
    [['--d-model', '32'], /--d-model 32.*16/],
    [['--seed', '4'], /--seed 4.*0/],
    [['--steps', '2'], /--steps 2.*3/],
  ] as [string[], RegExp][]) {
    const { status, stderr } = await runCli(['train', '--resume', ...out, ...flags]);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  }
  const other = path('other.txt');
  writeFileSync(other, prose(10));
  const data = await runCli(['train', other, '--resume', ...out]);
  expect(data.status).toBe(2);
  expect(data.stderr).toMatch(/text\.txt.*other\.txt/);
  const again = await runCli(['train', text, ...tiny, ...out]);
  expect(again.status).toBe(2);
  expect(again.stderr).toMatch(/--out.*--resume/);
  const longer = [
    'train',
    text,
    '--resume',
    ...tiny,
    ...out,
    '--steps',
    '5',
    '--structure',
    'btt:rank=1',
  ];
  expect(await runCli(longer)).toMatchObject({ status: 0 });
  const empty = await runCli(['train', '--resume', '--out', path('nothing')]);
  expect(empty).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('config.json') as string,
  });
});
