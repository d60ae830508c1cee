import { describe, expect, test, vi } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { Secret } from '../../src/base/secret.ts'
import { checkScryptCost, scryptKey } from '../../src/crypto/kdf.ts'

vi.unmock('../../src/crypto/kdf.ts')

describe('scrypt', () => {
  // RFC 7914 section 12
  test.each([
    {
      passphrase: 'password',
      salt: 'NaCl',
      cost: { N: 1024, r: 8, p: 16 },
      key: 'fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b3731622eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640',
    },
    {
      passphrase: 'pleaseletmein',
      salt: 'SodiumChloride',
      cost: { N: 16384, r: 8, p: 1 },
      key: '7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887',
    },
  ])('gives the key of RFC 7914 for $passphrase', async ({ passphrase, salt, cost, key }) => {
    using secret = Secret.take(utf8(passphrase))
    using derived = await scryptKey(secret, utf8(salt), cost, 64)
    expect(derived.expose(bytes => Buffer.from(bytes).toString('hex'))).toBe(key)
  })

  test.each([
    { N: 32768, r: 8, p: 1 },
    { N: 65536, r: 8, p: 5 },
  ])('the costs that restic asks for are paid: N=$N r=$r p=$p', cost => {
    expect(() => checkScryptCost(cost)).not.toThrow()
  })

  test.each([
    { N: 1, r: 8, p: 1 },
    { N: 3, r: 8, p: 1 },
    { N: 0, r: 8, p: 1 },
    { N: -2, r: 8, p: 1 },
    { N: 2 ** 30, r: 8, p: 1 },
    { N: 32768, r: 8, p: 2 ** 20 },
    { N: 2, r: 2 ** 30, p: 1 },
    { N: 1024, r: 1.5, p: 1 },
    { N: 1024, r: 8, p: Number.NaN },
  ])('N=$N r=$r p=$p is refused before anything is paid', cost => {
    expect(() => checkScryptCost(cost)).toThrow(expect.objectContaining({ code: 'KDF_LIMIT' }))
  })
})
