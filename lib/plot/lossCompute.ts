import type { TopLevelSpec } from 'vega-lite';

import { EinlinearError } from '../errors';
import { FONT } from './fonts';
import { fixedDecimals, logTicks, scientific } from './logAxis';

/** What a loss cost. */
export interface LossPoint {
  /** Forward MACs spent in training until then. */
  macs: number;
  /** Nats per token. */
  loss: number;
}

/** The course of one run. */
export interface LossSeries {
  name: string;
  points: readonly LossPoint[];
}

export interface LossComputeOptions {
  title?: string;
  subtitle?: string;
  lossTitle?: string;
  computeTitle?: string;
}

/** Colours that stay apart for the colour-blind, and in grey (Okabe and Ito, 2008). */
export const PALETTE: readonly string[] = [
  '#0072B2',
  '#D55E00',
  '#009E73',
  '#CC79A7',
  '#E69F00',
  '#56B4E9',
  '#000000',
];

const SHAPES = ['circle', 'square', 'triangle-up', 'diamond', 'cross', 'triangle-down', 'circle'];
const DASHES = [
  [1, 0],
  [6, 3],
  [2, 2],
  [8, 3, 2, 3],
  [1, 0],
  [6, 3],
  [2, 2],
];
const WIDTH = 420;
const HEIGHT = 280;
const LABEL_HEIGHT = 15;

/** Share of the axis left free at both ends. */
function widen(low: number, high: number, share: number): [number, number] {
  const margin = (high / low) ** share;
  return low === high ? [low / 1.1, high * 1.1] : [low / margin, high * margin];
}

/** Heights for the labels at the ends of the curves, moved apart just as far as they need not to overlap. */
function spread(heights: readonly number[]): number[] {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a] - heights[b]);
  const placed = [...heights];
  let next = -Infinity;
  for (const i of order) next = (placed[i] = Math.max(heights[i], next)) + LABEL_HEIGHT;
  const drift = order.reduce((sum, i) => sum + placed[i] - heights[i], 0) / heights.length;
  return placed.map((height) => height - drift);
}

function labelExpression(ticks: readonly number[], format: (value: number) => string): string {
  const labels = Object.fromEntries(ticks.map((value) => [String(value), format(value)]));
  return `${JSON.stringify(labels)}[toString(datum.value)]`;
}

/**
 * Loss against compute on logarithmic axes, a curve a run, each labelled with its name and last loss.
 *
 * @throws EinlinearError `NO_DATA` where no series has a point with positive, finite loss and compute
 */
export function lossComputePlot(
  series: readonly LossSeries[],
  {
    title,
    subtitle,
    lossTitle = 'Validation loss (nats per character)',
    computeTitle = 'Training compute (forward MACs)',
  }: LossComputeOptions = {},
): TopLevelSpec {
  const drawn = series
    .map(({ name, points }) => ({
      name,
      points: points.filter(
        ({ macs, loss }) => macs > 0 && loss > 0 && Number.isFinite(macs) && Number.isFinite(loss),
      ),
    }))
    .filter(({ points }) => points.length > 0);
  if (drawn.length === 0) {
    throw new EinlinearError(
      'NO_DATA',
      'Expected at least one point with a positive, finite loss and compute, got none',
      { series: series.map(({ name }) => name) },
    );
  }
  const all = drawn.flatMap(({ points }) => points);
  const x = widen(
    Math.min(...all.map(({ macs }) => macs)),
    Math.max(...all.map(({ macs }) => macs)),
    0.04,
  );
  const y = widen(
    Math.min(...all.map(({ loss }) => loss)),
    Math.max(...all.map(({ loss }) => loss)),
    0.05,
  );
  const height = (loss: number) => (HEIGHT * Math.log(y[1] / loss)) / Math.log(y[1] / y[0]);
  const lossAt = (pixels: number) => y[1] * (y[0] / y[1]) ** (pixels / HEIGHT);
  const last = drawn.map(({ points }) =>
    points.reduce((latest, point) => (point.macs >= latest.macs ? point : latest)),
  );
  const heights = spread(last.map(({ loss }) => height(loss)));
  const labels = drawn.map(({ name }, i) => ({
    series: name,
    macs: last[i].macs,
    labelHeight: lossAt(heights[i]),
    label: `${name} ${last[i].loss.toFixed(3)}`,
  }));

  const names = drawn.map(({ name }) => name);
  const colors = names.map((_, i) => PALETTE[i % PALETTE.length]);
  const color = {
    field: 'series',
    type: 'nominal' as const,
    scale: { domain: names, range: colors },
    // The labels at the ends of the curves say it.
    legend: null,
  };
  const xTicks = logTicks(x[0], x[1], 3);
  const yTicks = logTicks(y[0], y[1], 5);
  const xScale = { type: 'log' as const, domain: x, nice: false };
  const yScale = { type: 'log' as const, domain: y, nice: false };
  return {
    $schema: 'https://vega.github.io/schema/vega-lite/v5.json',
    width: WIDTH,
    height: HEIGHT,
    padding: 8,
    background: 'white',
    ...(title === undefined
      ? {}
      : { title: { text: title, ...(subtitle === undefined ? {} : { subtitle }) } }),
    data: {
      values: drawn.flatMap(({ name, points }) =>
        points.map(({ macs, loss }) => ({ series: name, macs, loss })),
      ),
    },
    layer: [
      {
        mark: { type: 'line', strokeWidth: 2, clip: true },
        encoding: {
          x: {
            field: 'macs',
            type: 'quantitative',
            scale: xScale,
            title: computeTitle,
            axis: { values: xTicks, labelExpr: labelExpression(xTicks, scientific) },
          },
          y: {
            field: 'loss',
            type: 'quantitative',
            scale: yScale,
            title: lossTitle,
            axis: { values: yTicks, labelExpr: labelExpression(yTicks, fixedDecimals(yTicks)) },
          },
          color,
          strokeDash: {
            field: 'series',
            type: 'nominal',
            scale: { domain: names, range: names.map((_, i) => DASHES[i % DASHES.length]) },
            legend: null,
          },
        },
      },
      {
        mark: { type: 'point', filled: true, size: 32, opacity: 1 },
        encoding: {
          x: { field: 'macs', type: 'quantitative' },
          y: { field: 'loss', type: 'quantitative' },
          color,
          shape: {
            field: 'series',
            type: 'nominal',
            scale: { domain: names, range: names.map((_, i) => SHAPES[i % SHAPES.length]) },
            legend: null,
          },
        },
      },
      {
        data: { values: labels },
        mark: { type: 'text', align: 'left', baseline: 'middle', dx: 10, fontSize: 11 },
        encoding: {
          x: { field: 'macs', type: 'quantitative' },
          y: { field: 'labelHeight', type: 'quantitative' },
          text: { field: 'label' },
          color,
        },
      },
    ],
    config: {
      font: FONT,
      view: { stroke: null },
      title: {
        anchor: 'start',
        fontSize: 14,
        subtitleFontSize: 11,
        subtitleColor: '#444444',
        subtitlePadding: 4,
        offset: 10,
      },
      axis: {
        labelFontSize: 11,
        titleFontSize: 12,
        titleFontWeight: 'normal',
        labelColor: '#222222',
        titleColor: '#222222',
        domainColor: '#222222',
        tickColor: '#222222',
        gridColor: '#E4E4E4',
        titlePadding: 8,
        labelOverlap: false,
      },
    },
  };
}
