import { expect, it } from 'vitest'
import { generateEd25519 } from '../../src/crypto/signing.ts'
import { tokenAnswers } from '../../src/hsm/token-answers.ts'
import { codeOf, countingEntropy } from './support.ts'

/* What the process around foreign native code may say. */

const inspected = {
  label: 'a',
  manufacturer: 'a',
  model: 'a',
  serial: 'a',
  pin: 'sound',
  isWriteProtected: false,
  mechanisms: 1,
  ecdh: true,
  oaep: true,
  rsa: true,
  ed25519: true,
  ecdsa: true,
}
const evil = '\u001b]0;title\u0007\u001b[2J\u202e'

it('has nothing in it that a terminal acts upon', () => {
  for (const name of ['label', 'manufacturer', 'model', 'serial'] as const)
    expect(tokenAnswers.inspected({ ...inspected, [name]: evil })[name]).toBe('?]0;title??[2J?')
  const key = { label: evil, isProtected: true, export: 'refused' }
  expect(tokenAnswers.description({ opens: null, keys: [key] }).keys[0]?.label).toBe('?]0;title??[2J?')
})

it('of another form or length is none', async () => {
  const witness = generateEd25519(countingEntropy(3)).publicKey
  expect(tokenAnswers.publicKeys({ wrapping: null, witness }).witness).toEqual(witness)
  const keys = [
    null,
    'x'.repeat(100_000),
    witness,
    { wrapping: null, witness: witness.subarray(1) },
    { wrapping: { type: 'rsa', modulus: new Uint8Array(256) }, witness },
    { wrapping: { type: 'rsa', modulus: new Uint8Array(1024).fill(0xff) }, witness },
    { wrapping: { type: 'p256', point: new Uint8Array(65).fill(4) }, witness },
  ]
  for (const one of keys)
    expect(await codeOf(async () => tokenAnswers.publicKeys(one))).toBe('HSM_TOKEN_FAILED')
  for (const one of [witness.subarray(1), [...witness], null])
    expect(await codeOf(async () => tokenAnswers.bytes(one, 32))).toBe('HSM_TOKEN_FAILED')
})
