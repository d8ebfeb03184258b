import type { ResvgRenderOptions } from '@resvg/resvg-js';
import { dirname, join } from 'node:path';

const FAMILY = 'DejaVu Sans';

/** Fonts of all text: the first is free and comes with a dependency, the others are for viewers of an SVG without it. */
export const FONT = `${FAMILY}, Verdana, sans-serif`;

/** The files of that font, and no other: a bare machine has none, and the result shall be the same everywhere. */
export function shippedFonts(): NonNullable<ResvgRenderOptions['font']> {
  const folder = join(dirname(require.resolve('dejavu-fonts-ttf/package.json')), 'ttf');
  const names = ['DejaVuSans.ttf', 'DejaVuSans-Bold.ttf', 'DejaVuSans-Oblique.ttf'];
  return {
    loadSystemFonts: false,
    fontFiles: names.map((name) => join(folder, name)),
    defaultFontFamily: FAMILY,
  };
}
