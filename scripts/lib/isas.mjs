// The instruction sets whose kernels this processor runs, the one chosen by default last.
import { at, outputOf } from './project.mjs';

export function supportedIsas() {
  const binary = JSON.stringify(at('build', 'Release', 'einlinear.node'));
  const program = `process.exit(require(${binary}).backends()[0].available ? 0 : 1)`;
  const supports = (isa) =>
    outputOf(process.execPath, ['-e', program], { env: { EINLINEAR_ISA: isa } }) !== null;
  return ['portable', 'avx2', 'avx512'].filter(supports);
}
