import fc from 'fast-check';

// Everyday runs draw the same random cases each time, so that a failure is the change's; `npm run test:extended`
// draws new and more ones, and prints the seed of any that fails.
const { FAST_CHECK_SEED: seed = '2410', FAST_CHECK_RUNS: runs } = process.env;
fc.configureGlobal({
  ...(seed !== 'random' && { seed: Number(seed) }),
  ...(runs !== undefined && { numRuns: Number(runs) }),
});
