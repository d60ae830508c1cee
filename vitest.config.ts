import { availableParallelism } from 'node:os'
import path from 'node:path'
import { defineConfig } from 'vitest/config'

/** Of what is compiled. Not in `node_modules`, which the product measures as a part of itself. */
const cache = path.join(import.meta.dirname, '.cache')
const setupFiles = ['test/support/discard-scratch.ts']
const scryptOnce = 'test/support/scrypt-once.ts'
/** More than half of what a short command costs is compiling it. */
const env = { NODE_COMPILE_CACHE: path.join(cache, 'compiled') }

/**
 * `unit`: one subject at a time. `system`: the whole product on the local host, which waits more than it works; these
 * files come first, beside one another. `long`: what takes minutes, one after another; `npm run test:long`.
 */
export default defineConfig({
  cacheDir: path.join(cache, 'vite'),
  test: {
    fsModuleCachePath: path.join(cache, 'vitest'),
    // One more than there are cores, for what waits.
    maxWorkers: availableParallelism() + 1,
    reporters: ['default', './test/support/closing-line.ts'],
    projects: [
      {
        test: {
          name: 'unit',
          env,
          setupFiles: [...setupFiles, scryptOnce],
          include: ['test/**/*.test.ts'],
          exclude: ['test/system/**', 'test/long/**'],
          testTimeout: 90_000,
          hookTimeout: 90_000,
        },
      },
      {
        test: {
          name: 'system',
          env,
          setupFiles,
          include: ['test/system/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 600_000,
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
