import { it, vi } from 'vitest'
import { dieAtEveryOperation } from '../engine/dying-prune.ts'

vi.mock('../../src/base/files.ts', { spy: true })
vi.mock('../../src/crypto/kdf.ts', async original =>
  (await import('../support/memoised-scrypt.ts')).memoisedScrypt(original),
)

it('a death after any operation loses no snapshot that stays, and the next prune completes', () =>
  dieAtEveryOperation('after'))
