import { Command } from 'commander';
import * as fc from 'fast-check';

import { addTaxonomyCommand, renderTaxonomy, reportTaxonomy } from '../../lib/cli/taxonomy';
import { STRUCTURE_NAMES, formatTheta } from '../../lib/structure';
import { thetas, widths } from '../structure/arbitraries';

function run(...args: string[]): string {
  const lines: string[] = [];
  const log = jest.spyOn(console, 'log').mockImplementation((line: string) => {
    lines.push(line);
  });
  try {
    const program = new Command().exitOverride().configureOutput({ writeErr: () => undefined });
    addTaxonomyCommand(program);
    program.parse(['taxonomy', ...args], { from: 'user' });
  } finally {
    log.mockRestore();
  }
  return lines.join('\n');
}

describe('taxonomy', () => {
  it('prints one JSON object', () => {
    const text = run('(0.5|0|0.5|0|0.5|0.5|0.25)', '--d-in', '1024', '--d-out', '4096', '--json');
    expect(JSON.parse(text)).toMatchObject({
      structure: '(0.5|0|0.5|0|0.5|0.5|0.25)',
      dIn: 1024,
      dOut: 4096,
      omega: 0,
      psi: 1,
      nu: 0.75,
      redundant: false,
      degenerate: false,
      canonical: '(0.5|0|0.5|0|0.5|0.5|0.25)',
      sizes: { alpha: 32, beta: 1, gamma: 32, delta: 1, epsilon: 64, phi: 64, rho: 6 },
      padding: { input: 0, output: 0 },
      macs: 32 * 64 * 6 * (32 + 64),
      parameters: 32 * 64 * 6 * (32 + 64),
      rank: 1024,
      dense: { macs: 1024 * 4096 },
      notes: [],
    });
  });

  it('prints JSON without the rounding of its arithmetic', () => {
    const text = run(
      '(0.64|0.05|0.31|0.28|0.36|0.36|0.66)',
      '--d-in',
      '1024',
      '--d-out',
      '1024',
      '--json',
    );
    expect(text).not.toMatch(/\d\.\d*(0{6}|9{6})\d/);
    expect(JSON.parse(text)).toMatchObject({ omega: 0.05, nu: 1.3 });
  });

  it('lays the same out for people', () => {
    const text = run('(0.5|0|0.5|0|0.5|0.5|0.25)', '--d-in', '1024', '--d-out', '4096');
    expect(text).toMatch(/size +32 +1 +32 +1 +64 +64 +6\n/);
    expect(text).toMatch(/MACs per token +1,179,648 +4,194,304 +0\.2813×\n/);
    expect(text).toMatch(/ν {2}MACs ~ d\^\(1\+ν\) +0\.75\n/);
    expect(text).toContain('canonical, not degenerate');
    expect(text.split('\n').every((line) => line.length <= 100)).toBe(true);
  });

  it('says of redundant and degenerate points what they are', () => {
    const redundant = reportTaxonomy('(0.34|0.66|0|0.75|0.25|0|0)', 256, 256);
    expect(redundant).toMatchObject({
      theta: '(0.34|0.66|0|0.75|0.25|0|0)',
      redundant: true,
      canonical: '(0.66|0.34|0|0.25|0.75|0|0)',
    });
    expect(redundant.notes.join()).toContain('Redundant');
    const degenerate = reportTaxonomy('(0.5|0|0.5|0|0.5|0.5|0.75)', 256, 256);
    expect(degenerate).toMatchObject({ degenerate: true, nu: 1.25, sizes: { rho: 64 } });
    expect(renderTaxonomy(degenerate)).toMatch(/canonical, degenerate\n/);
  });

  it('counts dense as one product', () => {
    const dense = reportTaxonomy('dense', 64, 256);
    expect(dense).toMatchObject({
      macs: 64 * 256,
      parameters: 64 * 256,
      rank: 64,
      omega: 0,
      nu: 1,
    });
    expect(reportTaxonomy('(1|0|0|0|1|0|1)', 64, 256)).toEqual(dense);
  });

  it('counts mixtures at their active share', () => {
    const report = reportTaxonomy('btt-moe:experts=8,k=2', 64, 64);
    expect(report).toMatchObject({ macs: 2 * 8 * 8 * 16 + 8 * 64, sizes: { rho: 8 }, rank: 64 });
    expect(Object.keys(report.factors)).toEqual(['A[φ,δ,ρ,γ,α]', 'B[φ,ε,ρ,γ,β]', 'gate']);
    expect(reportTaxonomy('low-rank-moe:experts=8,k=2', 64, 64).rank).toBe(16);
  });

  it("reports what the paper's layer refuses", () => {
    const report = reportTaxonomy('(0.25|0|0.75|0|0.75|0.25|0):rounding=paper', 36, 36);
    expect(report.sizes).toMatchObject({ alpha: 2, gamma: 15 });
    expect(report.notes.join()).toContain('16.7 %, more than the 15 %');
  });

  it('says where the exact factorisation is far from θ', () => {
    const report = reportTaxonomy('(0.5|0|0.5|0|0.5|0.5|0)', 97, 64);
    expect(report.notes.join()).toContain('97^0.5 = 9.849');
  });

  it('has something to say about every structure at every width', () => {
    for (const name of STRUCTURE_NAMES) {
      expect(renderTaxonomy(reportTaxonomy(name, 97, 36))).toContain(name);
    }
    fc.assert(
      fc.property(thetas, widths, widths, (theta, dIn, dOut) => {
        for (const suffix of ['', ':rounding=paper']) {
          const report = reportTaxonomy(formatTheta(theta) + suffix, dIn, dOut);
          expect(report.rank).toBeGreaterThan(0);
          expect(renderTaxonomy(report)).not.toMatch(/NaN|undefined|Infinity/);
        }
      }),
    );
  });

  it('refuses bad flags and points by name', () => {
    expect(() => run('dense', '--d-in', '0', '--d-out', '4')).toThrow(
      "--d-in to be a positive integer, got '0'",
    );
    expect(() => run('dense', '--d-in', '8', '--d-out', '1e3')).toThrow("got '1e3'");
    expect(() => run('dense', '--d-in', '8')).toThrow('--d-out');
    expect(() => run('(0.5|0|0.5|0|0.5|0.6|0)', '--d-in', '8', '--d-out', '8')).toThrow('got 1.1');
  });
});
