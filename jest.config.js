// Several Jest workers, each with the threads of a whole machine, would only wait for one another.
process.env.EINLINEAR_THREADS ??= '2';

/** @type {import('jest').Config} */
module.exports = {
  roots: ['<rootDir>/test'],
  testEnvironment: 'node',
  testMatch: ['**/*.test.ts'],
  transform: { '^.+\\.ts$': ['ts-jest', { tsconfig: '<rootDir>/tsconfig.json' }] },
  modulePathIgnorePatterns: ['<rootDir>/(build|dist|\\.build|\\.build-sanitize|prebuilds)/'],
  setupFiles: ['<rootDir>/test/jestSetup.ts'],
  maxWorkers: '50%',
  testTimeout: 60_000,
};
