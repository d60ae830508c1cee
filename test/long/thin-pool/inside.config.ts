import { defineConfig } from 'vitest/config'

/** For the tests that thin-pool.test.ts runs inside its kernel, which is slow. */
export default defineConfig({
  test: {
    include: ['test/long/thin-pool/*.inside.ts'],
    testTimeout: 1_500_000,
    hookTimeout: 600_000,
    pool: 'threads',
    fileParallelism: false,
    reporters: ['verbose', ['json', { outputFile: '/mnt/report.json' }]],
  },
})
