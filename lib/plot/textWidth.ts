import { Resvg } from '@resvg/resvg-js';
import * as vega from 'vega';

import { FONT, shippedFonts } from './fonts';

/** What vega tells about a text that it places. */
interface TextItem {
  fontSize?: number;
  fontWeight?: string | number;
}

/** Part of vega that its types leave out: how wide a text will be. */
const { textMetrics } = vega as unknown as {
  textMetrics: { width: (item: TextItem, text: string | number | null) => number };
};

const ENTITIES: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;' };
const widths = new Map<string, number>();
const estimate = textMetrics.width;
/** Layouts under way; the last to end gives vega its own estimate back. */
let underWay = 0;

/** Pixels of a text as the renderer draws it. */
function textWidth(
  { fontSize = 11, fontWeight = 'normal' }: TextItem,
  text: string | number | null,
): number {
  const shown = String(text ?? '').replace(/[&<>]/g, (symbol) => ENTITIES[symbol]);
  const element = `<text y="${fontSize}" font-family="${FONT}" font-size="${fontSize}" font-weight="${fontWeight}">${shown}</text>`;
  let width = widths.get(element);
  if (width === undefined) {
    const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1">${element}</svg>`;
    width = new Resvg(svg, { font: shippedFonts() }).getBBox()?.width ?? 0;
    widths.set(element, width);
  }
  return width;
}

/**
 * Lets vega know the true widths of texts while it lays out a plot. Without a canvas it takes four fifths of the font
 * size for every character, a third too much, and leaves that much empty.
 */
export async function withTextWidths<T>(layOut: () => Promise<T>): Promise<T> {
  underWay++;
  textMetrics.width = textWidth;
  try {
    return await layOut();
  } finally {
    if (--underWay === 0) textMetrics.width = estimate;
  }
}
