import { fixedDecimals, logTicks, scientific } from '../../lib/plot/logAxis';
import { existsSync, readFileSync } from 'node:fs';

import { lossComputePlot, renderPlot, savePlot } from '../../lib/plot';
import { temporaryFolder } from '../support/temporaryFolder';

const path = temporaryFolder();

const SERIES = [
  { name: 'dense', points: [1, 2, 4, 8].map((i) => ({ macs: i * 1e11, loss: 3 * i ** -0.2 })) },
  { name: 'BTT-MoE', points: [1, 2, 4, 8].map((i) => ({ macs: i * 1e11, loss: 2.9 * i ** -0.2 })) },
];

/** Bytes of the PNG's image data: grows with what is drawn. */
function imageBytes(png: Uint8Array): number {
  expect(Buffer.from(png.subarray(1, 4)).toString()).toBe('PNG');
  return png.length;
}

test('the plot holds both curves, axes and labels', async () => {
  const { svg, png } = await renderPlot(
    lossComputePlot(SERIES, { title: 'A title', subtitle: 'A subtitle' }),
  );
  for (const text of [
    'A title',
    'A subtitle',
    'dense 1.979',
    'BTT-MoE 1.913',
    'Validation loss (nats per character)',
    'Training compute (forward MACs)',
    '10¹¹',
    '5×10¹¹',
  ]) {
    expect(svg).toContain(text);
  }
  expect(svg).toContain('#0072B2');
  expect(svg).toContain('#D55E00');
  expect(imageBytes(png)).toBeGreaterThan(10_000);
});

test('text is drawn in the PNG with the fonts that come along', async () => {
  const spec = lossComputePlot(SERIES);
  const withText = imageBytes((await renderPlot(spec)).png);
  const bare = lossComputePlot(
    SERIES.map(({ points }, i) => ({ name: ' '.repeat(i + 1), points })),
    { lossTitle: ' ', computeTitle: ' ' },
  );
  expect(withText).toBeGreaterThan(1.2 * imageBytes((await renderPlot(bare)).png));
});

test('texts take the room that they have: nothing is left empty above or beside the axes', async () => {
  const titles = { title: 'A title', subtitle: 'A subtitle' };
  const [{ svg }, wide] = await Promise.all([
    renderPlot(lossComputePlot(SERIES, titles)),
    renderPlot(
      lossComputePlot([{ ...SERIES[0], name: 'a much <longer> & wider name' }, SERIES[1]], titles),
    ),
  ]);
  const widthOf = (text: string) => Number(/<svg[^>]* width="(\d+)"/.exec(text)?.[1]);
  const [, left, top] = /translate\((\d+),(\d+)\)/.exec(svg) ?? [];
  // Title and subtitle take 14 + 4 + 11 pixels, their offset and the padding 18.
  expect(Number(top)).toBeLessThan(50);
  expect(Number(left)).toBeLessThan(60);
  // To the right of the 420 pixels of axes: 'BTT-MoE 1.913', 86 pixels from the end of its curve.
  expect(widthOf(svg) - Number(left) - 420).toBeLessThan(90);
  expect(widthOf(wide.svg)).toBeGreaterThan(widthOf(svg) + 80);
});

test('viewers without the font have others to take', async () => {
  const { svg } = await renderPlot(lossComputePlot(SERIES));
  const fonts = new Set(svg.match(/font-family="[^"]*"/g));
  expect([...fonts]).toEqual(['font-family="DejaVu Sans, Verdana, sans-serif"']);
});

test('both files are saved, into a folder that is made', async () => {
  const files = await savePlot(lossComputePlot(SERIES), path('new', 'folder', 'plot'));
  expect(files).toEqual({
    svg: path('new', 'folder', 'plot.svg'),
    png: path('new', 'folder', 'plot.png'),
  });
  expect(readFileSync(files.svg, 'utf8')).toMatch(/^<svg/);
  expect(existsSync(files.png)).toBe(true);
});

test('points that have no place on a logarithmic axis are left out', async () => {
  const odd = [
    {
      name: 'odd',
      points: [
        { macs: 0, loss: 4 },
        { macs: 1e9, loss: NaN },
        { macs: 1e9, loss: 3 },
      ],
    },
  ];
  expect((await renderPlot(lossComputePlot(odd))).svg).toContain('odd 3.000');
  expect(() => lossComputePlot([{ name: 'none', points: [] }])).toThrow(
    expect.objectContaining({ code: 'NO_DATA' }),
  );
});

test('ticks are round numbers within the axis', () => {
  expect(logTicks(1, 1000, 3)).toEqual([1, 10, 100, 1000]);
  for (const [low, high] of [
    [1.9, 2.1],
    [0.003, 0.9],
    [3e10, 9e13],
  ]) {
    const ticks = logTicks(low, high, 4);
    expect(ticks.length).toBeGreaterThanOrEqual(4);
    expect(ticks.every((tick) => tick >= low && tick <= high)).toBe(true);
    expect([...ticks].sort((a, b) => a - b)).toEqual(ticks);
  }
});

test('numbers of an axis have the same decimals', () => {
  expect([1.8, 1.9, 2, 2.2].map(fixedDecimals([1.8, 1.9, 2, 2.2]))).toEqual([
    '1.8',
    '1.9',
    '2.0',
    '2.2',
  ]);
  expect([2, 30].map(fixedDecimals([2, 30]))).toEqual(['2', '30']);
  expect([2e-7, 1.5e-7].map(fixedDecimals([2e-7, 1.5e-7]))).toEqual(['0.00000020', '0.00000015']);
});

test('numbers are written as in a paper', () => {
  expect([1e12, 3e11, 0.002, 1.5e10].map(scientific)).toEqual([
    '10¹²',
    '3×10¹¹',
    '2×10⁻³',
    '1.5×10¹⁰',
  ]);
});
