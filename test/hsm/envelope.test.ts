import { execFileSync } from 'node:child_process'
import { createECDH } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { CodedError } from '../../src/base/errors.ts'
import { Secret } from '../../src/base/secret.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { decodeBech32, encodeBech32 } from '../../src/hsm/bech32.ts'
import {
  createEnvelope,
  envelopeBytesMax,
  openWithRecoveryKey,
  openWithToken,
} from '../../src/hsm/envelope.ts'
import { parseRecipient, recoveryRecipient, tokenRecipient } from '../../src/hsm/recipients.ts'
import { importRecoveryKey, newRecoveryKey } from '../../src/hsm/recovery.ts'
import type { TokenKey } from '../../src/hsm/token-key.ts'
import { codeOf, countingEntropy, secret, textOf } from './support.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-envelope-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const passphrase = 'Yb3hvmYb0xKmFv_7G6S9b5Qnq8H7W7b0bq2kA0mTt5o'

/** A key as a token has one, in memory. */
function softKey() {
  const key = createECDH('prime256v1')
  return {
    type: 'p256' as const,
    point: new Uint8Array(key.generateKeys()),
    agree: async (peerPoint: Uint8Array) => Secret.take(new Uint8Array(key.computeSecret(peerPoint))),
  }
}

const token = softKey()
const recovery = newRecoveryKey(systemEntropy)
const envelope = await createEnvelope(secret(passphrase), [tokenRecipient(token), recovery.recipient])

describe('an envelope', () => {
  it('is opened by the token', async () => {
    using opened = await openWithToken(new Untrusted(envelope), token)
    expect(textOf(opened)).toBe(passphrase)
  })

  it('is opened by the recovery key', async () => {
    using opened = await openWithRecoveryKey(new Untrusted(envelope), recovery.identity)
    expect(textOf(opened)).toBe(passphrase)
  })

  it('is opened by stock age with the recovery key', () => {
    const [keyFile, envelopeFile] = ['recovery.key', 'envelope.age'].map(name => path.join(directory, name))
    writeFileSync(keyFile ?? '', `# kept in the safe\n${textOf(recovery.identity)}\n`)
    writeFileSync(envelopeFile ?? '', envelope)
    const opened = execFileSync('age', ['-d', '-i', keyFile ?? '', envelopeFile ?? ''], {
      encoding: 'latin1',
    })
    expect(opened).toBe(passphrase)
  })

  it('of several tokens is opened by each', async () => {
    const spare = softKey()
    const recipients = [tokenRecipient(token), tokenRecipient(spare), recovery.recipient]
    const shared = await createEnvelope(secret(passphrase), recipients)
    for (const key of [token, spare])
      expect(textOf(await openWithToken(new Untrusted(shared), key))).toBe(passphrase)
  })

  it('for another token or recovery key is refused', async () => {
    expect(await codeOf(() => openWithToken(new Untrusted(envelope), softKey()))).toBe(
      'HSM_ENVELOPE_OTHER_KEY',
    )
    const other = newRecoveryKey(systemEntropy).identity
    expect(await codeOf(() => openWithRecoveryKey(new Untrusted(envelope), other))).toBe(
      'HSM_ENVELOPE_OTHER_KEY',
    )
  })

  it('with any bit changed is refused with a code', async () => {
    const bit = fc.integer({ min: 0, max: envelope.byteLength * 8 - 1 })
    await fc.assert(
      fc.asyncProperty(bit, async at => {
        const changed = envelope.slice()
        changed[at >> 3] = (changed[at >> 3] ?? 0) ^ (1 << (at & 7))
        const code = await codeOf(() => openWithToken(new Untrusted(changed), token))
        expect(['HSM_ENVELOPE_INVALID', 'HSM_ENVELOPE_OTHER_KEY']).toContain(code)
      }),
      { seed: 7, numRuns: 150 },
    )
  })

  it('that was cut, lengthened or replaced is refused with a code', async () => {
    const candidates = [
      ...[0, 1, 30, 100, envelope.byteLength - 1].map(length => envelope.slice(0, length)),
      Buffer.concat([envelope, Buffer.from('x')]),
      new Uint8Array(envelopeBytesMax + 1),
      Buffer.from('age-encryption.org/v1\n-> p256tag AA AA\n\n--- AA\n'),
    ]
    for (const candidate of candidates)
      expect(await codeOf(() => openWithToken(new Untrusted(new Uint8Array(candidate)), token))).toBe(
        'HSM_ENVELOPE_INVALID',
      )
  })

  it('that holds an unsafe passphrase gives nothing out', async () => {
    const { Encrypter } = await import('age-encryption')
    const encrypter = new Encrypter()
    encrypter.addRecipient(recovery.recipient.text)
    const empty = await encrypter.encrypt(new Uint8Array(0))
    expect(await codeOf(() => openWithRecoveryKey(new Untrusted(empty), recovery.identity))).toBe(
      'HSM_PASSPHRASE_UNSAFE',
    )
  })

  it('passes on what the token throws', async () => {
    const broken: TokenKey = {
      ...token,
      agree: () =>
        Promise.reject(new CodedError('HSM_TIMEOUT', { kind: 'timeout', meaning: '', hint: '' }, 'late')),
    }
    expect(await codeOf(() => openWithToken(new Untrusted(envelope), broken))).toBe('HSM_TIMEOUT')
  })
})

describe('making an envelope', () => {
  const own = tokenRecipient(token)
  it.each([
    ['without a recovery key', [own], 'HSM_RECIPIENTS_SHORT'],
    ['without a token', [recovery.recipient], 'HSM_RECIPIENTS_SHORT'],
    ['for nobody', [], 'HSM_RECIPIENTS_SHORT'],
    ['for one recipient twice', [own, own, recovery.recipient], 'HSM_RECIPIENT_INVALID'],
  ])('%s is refused', async (_, recipients, code) => {
    expect(await codeOf(() => createEnvelope(secret(passphrase), recipients))).toBe(code)
  })

  it('around an empty passphrase is refused', async () => {
    expect(await codeOf(() => createEnvelope(secret(''), [own, recovery.recipient]))).toBe(
      'HSM_PASSPHRASE_UNSAFE',
    )
  })

  it('for a point that is not on the curve is refused', async () => {
    const text = Buffer.from(encodeBech32('age1tag', new Uint8Array(33).fill(5))).toString('latin1')
    const code = codeOf(() => createEnvelope(secret(passphrase), [parseRecipient(text), recovery.recipient]))
    expect(await code).toBe('HSM_RECIPIENT_INVALID')
    expect(await codeOf(() => tokenRecipient({ type: 'p256', point: new Uint8Array(65).fill(4) }))).toBe(
      'HSM_RECIPIENT_INVALID',
    )
  })
})

describe('recipients and recovery keys', () => {
  it('are those of age-keygen', () => {
    const file = path.join(directory, 'ours.key')
    writeFileSync(file, `${textOf(recovery.identity)}\n`)
    const recipient = execFileSync('age-keygen', ['-y', file], { encoding: 'latin1' }).trim()
    expect(recovery.recipient).toEqual({ kind: 'recovery', text: recipient })
    expect(parseRecipient(recipient)).toEqual(recovery.recipient)
  })

  it('made by age-keygen are taken', async () => {
    const file = path.join(directory, 'theirs.key')
    execFileSync('age-keygen', ['-o', file], { stdio: 'ignore' })
    const recipient = execFileSync('age-keygen', ['-y', file], { encoding: 'latin1' }).trim()
    const made = await createEnvelope(secret(passphrase), [tokenRecipient(token), parseRecipient(recipient)])
    using identity = Secret.take(new Uint8Array(readFileSync(file)))
    expect(textOf(await openWithRecoveryKey(new Untrusted(made), identity))).toBe(passphrase)
  })

  it('with one wrong character are refused', async () => {
    for (const text of [recovery.recipient.text, tokenRecipient(token).text])
      for (let at = 0; at < text.length; at++) {
        const wrong = `${text.slice(0, at)}${text[at] === 'q' ? 'p' : 'q'}${text.slice(at + 1)}`
        expect(await codeOf(() => parseRecipient(wrong)), wrong).toBe('HSM_RECIPIENT_INVALID')
      }
    const identity = textOf(recovery.identity)
    for (const wrong of [
      '',
      identity.slice(1),
      `${identity}Q`,
      identity.replace('1', '2'),
      `${identity}\n${identity}`,
      `a${identity.slice(1)}`,
    ])
      expect(await codeOf(() => importRecoveryKey(secret(wrong))), wrong).toBe('HSM_RECOVERY_KEY_INVALID')
  })

  it('decode to what was encoded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 0, maxLength: 40 }), bytes => {
        expect(decodeBech32('age', encodeBech32('age', bytes))).toEqual(bytes)
      }),
      { seed: 1 },
    )
  })

  it('are different for different entropy', () => {
    const [one, other] = [newRecoveryKey(countingEntropy(1)), newRecoveryKey(countingEntropy(2))]
    expect(one.recipient.text).not.toBe(other.recipient.text)
    expect(recoveryRecipient(new Uint8Array(32)).kind).toBe('recovery')
  })
})
