import { it, vi } from 'vitest'
import { dieAtEveryOperation } from './dying-prune.ts'

vi.mock('../../src/base/files.ts', { spy: true })

/* A death after an operation leaves what a death before the next one does: `test/long` has it. */
it(
  'a death before any operation loses no snapshot that stays, and the next prune completes',
  () => dieAtEveryOperation('before'),
  600_000,
)
