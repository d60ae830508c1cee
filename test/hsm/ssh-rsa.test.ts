import { execFileSync } from 'node:child_process'
import { constants, generateKeyPairSync, privateDecrypt, randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { createEnvelope, openWithToken } from '../../src/hsm/envelope.ts'
import { countRecipients } from '../../src/hsm/envelope-header.ts'
import { HsmError } from '../../src/hsm/errors.ts'
import { encryptOaep, fileKeyLength, removeOaepPadding } from '../../src/hsm/oaep.ts'
import { parseRecipient, tokenRecipient } from '../../src/hsm/recipients.ts'
import { newRecoveryKey } from '../../src/hsm/recovery.ts'
import { parseSshRsa, sshRsaText } from '../../src/hsm/ssh-rsa.ts'
import { codeOf, secret, textOf } from './support.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-ssh-rsa-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const passphrase = 'Yb3hvmYb0xKmFv_7G6S9b5Qnq8H7W7b0bq2kA0mTt5o'
const recovery = newRecoveryKey(systemEntropy)
const pair = generateKeyPairSync('rsa', { modulusLength: 2048 })
const modulus = modulusOf(pair.publicKey.export({ format: 'jwk' }).n)

function modulusOf(n: string | undefined): Uint8Array {
  return new Uint8Array(Buffer.from(n ?? '', 'base64url'))
}

/** As a token that knows RSA without padding: what comes out is a number, whose leading zeros may be gone. */
function decryptRaw(ciphertext: Uint8Array): Uint8Array {
  return privateDecrypt({ key: pair.privateKey, padding: constants.RSA_NO_PADDING }, ciphertext)
}

const softToken = {
  type: 'rsa' as const,
  modulus,
  decrypt: async (ciphertext: Uint8Array) => {
    const fileKey = removeOaepPadding(decryptRaw(ciphertext), ciphertext.byteLength)
    if (fileKey?.byteLength === fileKeyLength) return Secret.take(fileKey)
    throw new HsmError('HSM_ENVELOPE_INVALID', 'the stanza for this token does not open')
  },
}

describe('an envelope for an RSA key', () => {
  it('is opened by stock age with that key, as an SSH key, and with the recovery key', async () => {
    const envelope = await createEnvelope(secret(passphrase), [tokenRecipient(softToken), recovery.recipient])
    const [rsaFile, recoveryFile, file] = ['id_rsa', 'recovery.key', 'envelope.age'].map(name =>
      path.join(directory, name),
    ) as [string, string, string]
    writeFileSync(rsaFile, pair.privateKey.export({ format: 'pem', type: 'pkcs1' }), { mode: 0o600 })
    writeFileSync(recoveryFile, textOf(recovery.identity))
    writeFileSync(file, envelope)
    for (const key of [rsaFile, recoveryFile])
      expect(execFileSync('age', ['-d', '-i', key, file], { encoding: 'latin1' })).toBe(passphrase)
  })

  it('counts as one for a token', async () => {
    const envelope = await createEnvelope(secret(passphrase), [tokenRecipient(softToken), recovery.recipient])
    expect(countRecipients(new Untrusted(envelope))).toEqual({ tokens: 1, recoveryKeys: 1 })
  })

  it('with any bit of its stanza changed is refused with a code', async () => {
    const envelope = await createEnvelope(secret(passphrase), [tokenRecipient(softToken), recovery.recipient])
    const bits = fc.integer({ min: 22 * 8, max: 380 * 8 })
    await fc.assert(
      fc.asyncProperty(bits, async at => {
        const changed = envelope.slice()
        changed[at >> 3] = (changed[at >> 3] ?? 0) ^ (1 << (at & 7))
        expect(['HSM_ENVELOPE_INVALID', 'HSM_ENVELOPE_OTHER_KEY']).toContain(
          await codeOf(() => openWithToken(new Untrusted(changed), softToken)),
        )
      }),
      { seed: 5, numRuns: 60 },
    )
  })
})

describe('the padding', () => {
  it('is what OpenSSL takes, and off again gives what OpenSSL gives', () => {
    for (let count = 0; count < 20; count++) {
      const fileKey = randomBytes(fileKeyLength)
      const ciphertext = encryptOaep(modulus, fileKey)
      const oaep = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: 'sha256' }
      const oaepLabel = Buffer.from('age-encryption.org/v1/ssh-rsa')
      expect(privateDecrypt({ key: pair.privateKey, ...oaep, oaepLabel }, ciphertext)).toEqual(fileKey)
      const block = decryptRaw(ciphertext)
      for (const one of [block, block.subarray(1)])
        expect(Buffer.from(removeOaepPadding(one, modulus.byteLength) ?? [])).toEqual(fileKey)
    }
  })

  it('of another form is none', () => {
    const block = decryptRaw(encryptOaep(modulus, randomBytes(fileKeyLength)))
    for (const at of [0, 1, 40, 200, 255]) {
      const changed = new Uint8Array(block)
      changed[at] = (changed[at] ?? 0) ^ 1
      expect(removeOaepPadding(changed, modulus.byteLength), String(at)).toBeNull()
    }
    for (const [bytes, length] of [
      [new Uint8Array(256), 256],
      [block, 255],
      [new Uint8Array(0), 40],
    ] as const)
      expect(removeOaepPadding(bytes, length)).toBeNull()
  })
})

describe('an SSH key', () => {
  it('is taken as ssh-keygen writes it, with or without its comment', () => {
    const text = sshRsaText(modulus)
    expect(parseSshRsa(text)).toEqual(modulus)
    expect(parseRecipient(`${text} someone@somewhere`)).toEqual({ kind: 'token', text })
    expect(text).toMatch(/^ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ/)
  })

  it('that is short, of another exponent or kind, or cut is refused', async () => {
    const short = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey.export({ format: 'jwk' }).n
    const other = generateKeyPairSync('rsa', { modulusLength: 2048, publicExponent: 3 }).publicKey
    const blob = (e: Buffer, n: Buffer) =>
      Buffer.concat([Buffer.from('ssh-rsa'), e, n].map(field)).toString('base64')
    const signed = (n: string | undefined) => Buffer.concat([Buffer.of(0), modulusOf(n)])
    const text = sshRsaText(modulus)
    for (const wrong of [
      `ssh-rsa ${blob(Buffer.of(1, 0, 1), signed(short))}`,
      `ssh-rsa ${blob(Buffer.of(3), signed(other.export({ format: 'jwk' }).n))}`,
      text.slice(0, -4),
      `${text}AAAA`,
      text.replace('ssh-rsa', 'ssh-dss'),
      `${text}\nssh-rsa AAAA`,
      'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFYuQ3Yw1yqPZ8nNlVDgU7u3JJc7Zv0hlnJq9Q7yW0aC',
    ])
      expect(await codeOf(() => parseRecipient(wrong)), wrong).toBe('HSM_RECIPIENT_INVALID')
  })
})

function field(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.byteLength)
  return Buffer.concat([length, bytes])
}
