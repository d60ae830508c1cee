import { vi } from 'vitest'

/* Set up for each file of tests: most of them open one repository with one passphrase, again and again. */
vi.mock('../../src/crypto/kdf.ts', async original =>
  (await import('./memoised-scrypt.ts')).memoisedScrypt(original),
)
