import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { newPassphrase, requireSafe } from '../../src/hsm/passphrase.ts'
import { codeOf, countingEntropy, textOf } from './support.ts'

describe('a new passphrase', () => {
  it('is 256 bits as base64url, as Node writes them', () => {
    using passphrase = newPassphrase(countingEntropy())
    const expected = Buffer.from(countingEntropy().bytes(32)).toString('base64url')
    expect(textOf(passphrase)).toBe(expected)
    expect(expected).toHaveLength(43)
    passphrase.expose(requireSafe)
  })

  it('is another each time', () => {
    const entropy = countingEntropy()
    expect(textOf(newPassphrase(entropy))).not.toBe(textOf(newPassphrase(entropy)))
  })
})

describe('a passphrase', () => {
  it.each([
    ['of 20 characters', 'x'.repeat(20)],
    ['of 1024 characters', 'x'.repeat(1024)],
    ['with spaces inside', 'correct horse battery staple'],
    ['with every printable character', '!"#$%&\'()*+,-./0123456789:;<=>?@[\\]^_`{|}~'],
  ])('%s is safe', (_, text) => {
    expect(requireSafe(utf8(text))).toBeUndefined()
  })

  it.each([
    ['that is empty', ''],
    ['of 19 characters', 'x'.repeat(19)],
    ['of 1025 characters', 'x'.repeat(1025)],
    ['with a NUL, which ends it for scrypt', `${'x'.repeat(20)}\0y`],
    ['with ^U, which erases the binding to the archive', `${'x'.repeat(20)}\u0015`],
    ['with ^C', `${'x'.repeat(20)}\u0003y`],
    ['with DEL', `${'x'.repeat(20)}\u007fy`],
    ['with a newline', `${'x'.repeat(20)}\ny`],
    ['with a carriage return', `${'x'.repeat(20)}\ry`],
    ['with a leading space', ` ${'x'.repeat(20)}`],
    ['with a trailing space', `${'x'.repeat(20)} `],
    ['of spaces only', ' '.repeat(30)],
    ['outside ASCII', `${'x'.repeat(20)}ä`],
  ])('%s is refused', async (_, text) => {
    expect(await codeOf(() => requireSafe(utf8(text)))).toBe('HSM_PASSPHRASE_UNSAFE')
  })
})
