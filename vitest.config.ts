import { defineConfig } from 'vitest/config'

const setupFiles = ['test/support/discard-scratch.ts']

/**
 * `unit`: one subject at a time, in parallel. `system`: the whole product on the local host, one file after
 * another so that two cores suffice. `long`: what takes minutes; `npm run test:long`.
 */
export default defineConfig({
  test: {
    // Every core: by itself vitest leaves one idle.
    maxWorkers: '100%',
    reporters: ['default', './test/support/closing-line.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          setupFiles,
          include: ['test/**/*.test.ts'],
          exclude: ['test/system/**', 'test/long/**'],
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'system',
          setupFiles,
          include: ['test/system/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 240_000,
          hookTimeout: 240_000,
        },
      },
      {
        test: {
          name: 'long',
          setupFiles,
          include: ['test/long/**/*.test.ts'],
          fileParallelism: false,
          testTimeout: 1_800_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
})
