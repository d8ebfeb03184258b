import { Resvg } from '@resvg/resvg-js';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

import { ioError } from '../data/ioError';
import { writeAtomically } from '../train/atomicWrite';
import { shippedFonts } from './fonts';
import { withTextWidths } from './textWidth';

/** Pixels of the PNG per pixel of the plot: 300 dots an inch at the size of a column. */
const PNG_SCALE = 3;

/** A plot in both forms. */
export interface RenderedPlot {
  svg: string;
  png: Uint8Array;
}

/** Where a plot was saved. */
export interface PlotFiles {
  svg: string;
  png: string;
}

/** Draws a vega-lite specification. The result is the same on every machine. */
export async function renderPlot(spec: TopLevelSpec): Promise<RenderedPlot> {
  const view = new View(parse(compile(spec).spec), { renderer: 'none' });
  try {
    const svg = await withTextWidths(() => view.toSVG());
    const png = new Resvg(svg, {
      background: 'white',
      fitTo: { mode: 'zoom', value: PNG_SCALE },
      font: shippedFonts(),
    })
      .render()
      .asPng();
    return { svg, png };
  } finally {
    view.finalize();
  }
}

/**
 * Draws a specification into `<path>.svg` and `<path>.png`.
 *
 * @param path without extension; its folder is made where it is missing
 * @throws EinlinearError `IO`
 */
export async function savePlot(spec: TopLevelSpec, path: string): Promise<PlotFiles> {
  const { svg, png } = await renderPlot(spec);
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (error) {
    throw ioError('create folder', dirname(path), error);
  }
  const files = { svg: `${path}.svg`, png: `${path}.png` };
  await writeAtomically(files.svg, [Buffer.from(svg, 'utf8')]);
  await writeAtomically(files.png, [png]);
  return files;
}
