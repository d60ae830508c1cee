import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { Secret } from '../../src/base/secret.ts'
import { activateCredential } from '../../src/tpm/device/activate.ts'
import type { LoadedKey } from '../../src/tpm/device/keys.ts'
import { type Credential, makeCredential } from '../../src/tpm/public/credential.ts'
import { codeOf } from '../support/code-of.ts'
import { flipped } from './expect.ts'
import {
  attestationKeyByTool,
  type SoftwareTpm,
  signal,
  softwareTpm,
  withAttestationKey,
  withEndorsementKey,
} from './swtpm.ts'

const words = 'only this TPM can tell'

let swtpm: SoftwareTpm
beforeAll(async () => {
  swtpm = await softwareTpm()
})
afterAll(() => swtpm[Symbol.asyncDispose]())

function challenge(endorsementKey: LoadedKey, name: Uint8Array): Credential {
  using secret = Secret.take(utf8(words))
  return makeCredential(endorsementKey.area, name, secret, systemEntropy)
}

async function answer(
  { tpm }: SoftwareTpm,
  attestationKey: LoadedKey,
  endorsementKey: LoadedKey,
  credential: Credential,
  password: Secret | null = null,
): Promise<string> {
  using secret = await activateCredential(tpm, attestationKey, endorsementKey, credential, password, signal)
  return secret.expose(fromUtf8)
}

describe.each(['p256', 'rsa'] as const)('a challenge to an endorsement key of kind %s', kind => {
  test('is answered by its TPM; changed anywhere it is not', async () => {
    await withAttestationKey(swtpm.tpm, attestationKey =>
      withEndorsementKey(swtpm.tpm, kind, async endorsementKey => {
        const credential = challenge(endorsementKey, attestationKey.area.name)
        expect(await answer(swtpm, attestationKey, endorsementKey, credential)).toBe(words)
        for (let byte = 0; byte < credential.blob.byteLength; byte++) {
          const changed = { ...credential, blob: flipped(credential.blob, byte * 8 + (byte % 8)) }
          expect(
            await codeOf(() => answer(swtpm, attestationKey, endorsementKey, changed)),
            `byte ${byte}`,
          ).not.toBe('ok')
        }
        for (let byte = 0; byte < credential.encryptedSeed.byteLength; byte += 5) {
          const changed = { ...credential, encryptedSeed: flipped(credential.encryptedSeed, byte * 8) }
          expect(
            await codeOf(() => answer(swtpm, attestationKey, endorsementKey, changed)),
            `byte ${byte}`,
          ).not.toBe('ok')
        }
      }),
    )
  })

  test('is not answered for another object, nor by another TPM', async () => {
    await using other = await softwareTpm()
    await withAttestationKey(swtpm.tpm, attestationKey =>
      withEndorsementKey(swtpm.tpm, kind, async endorsementKey => {
        const forOther = challenge(endorsementKey, endorsementKey.area.name)
        expect(await codeOf(() => answer(swtpm, attestationKey, endorsementKey, forOther))).toBe(
          'TPM_CREDENTIAL_WRONG',
        )
        const forThis = challenge(endorsementKey, attestationKey.area.name)
        await withAttestationKey(other.tpm, otherAttestationKey =>
          withEndorsementKey(other.tpm, kind, async otherEndorsementKey => {
            expect(
              await codeOf(() => answer(other, otherAttestationKey, otherEndorsementKey, forThis)),
            ).not.toBe('ok')
          }),
        )
      }),
    )
  })

  test('of tpm2_makecredential is answered, and ours by tpm2_activatecredential', async () => {
    const algorithm = kind === 'p256' ? 'ecc' : 'rsa'
    await swtpm.tool('tpm2_createek', '-c', 'ek.ctx', '-G', algorithm, '-u', 'ek.pub', '-f', 'tss')
    await swtpm.tool('tpm2_flushcontext', '-t')
    await withAttestationKey(swtpm.tpm, async attestationKey => {
      await withEndorsementKey(swtpm.tpm, kind, async endorsementKey => {
        // Both make the key of the TCG's template.
        const theirs = await swtpm.read('ek.pub')
        expect(Buffer.from(endorsementKey.area.bytes)).toEqual(theirs.subarray(2))

        await swtpm.write('secret', utf8(words))
        const name = Buffer.from(attestationKey.area.name).toString('hex')
        await swtpm.tool(
          'tpm2_makecredential',
          '-u',
          'ek.pub',
          '-s',
          'secret',
          '-n',
          name,
          '-o',
          'credential',
          '-T',
          'none',
        )
        expect(
          await answer(swtpm, attestationKey, endorsementKey, fromTool(await swtpm.read('credential'))),
        ).toBe(words)
      })
    })
    await attestationKeyByTool(swtpm)
    await withEndorsementKey(swtpm.tpm, kind, async endorsementKey => {
      await swtpm.write('ours', toTool(challenge(endorsementKey, await swtpm.read('ak.name'))))
    })
    await swtpm.tool('tpm2_startauthsession', '--policy-session', '-S', 'session')
    await swtpm.tool('tpm2_policysecret', '-S', 'session', '-c', 'e')
    await swtpm.tool(
      'tpm2_activatecredential',
      '-c',
      'ak.ctx',
      '-C',
      'ek.ctx',
      '-i',
      'ours',
      '-o',
      'told',
      '-P',
      'session:session',
    )
    expect((await swtpm.read('told')).toString()).toBe(words)
    await swtpm.tool('tpm2_flushcontext', 'session')
    await swtpm.tool('tpm2_flushcontext', '-t')
  })
})

test('a key that is no endorsement key is given no challenge', async () => {
  await withAttestationKey(swtpm.tpm, async key => {
    expect(await codeOf(() => challenge(key, key.area.name))).toBe('TPM_KEY_INVALID')
  })
})

test('the password of the endorsement hierarchy is asked for when there is one', async () => {
  await using own = await softwareTpm()
  await withAttestationKey(own.tpm, attestationKey =>
    withEndorsementKey(own.tpm, 'p256', async endorsementKey => {
      const credential = challenge(endorsementKey, attestationKey.area.name)
      await own.tool('tpm2_changeauth', '-c', 'endorsement', 'right')
      const withPassword = async (text: string) => {
        using password = Secret.take(utf8(text))
        return await answer(own, attestationKey, endorsementKey, credential, password)
      }
      expect(await codeOf(() => answer(own, attestationKey, endorsementKey, credential))).toBe(
        'TPM_AUTH_WRONG',
      )
      expect(await codeOf(() => withPassword('wrong'))).toBe('TPM_AUTH_WRONG')
      expect(await withPassword('right')).toBe(words)
    }),
  )
})

/** tpm2-tools: 0xbadcc0de, version 1, TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET. */
function fromTool(file: Buffer): Credential {
  const blobEnd = 10 + file.readUInt16BE(8)
  return { blob: file.subarray(10, blobEnd), encryptedSeed: file.subarray(blobEnd + 2) }
}

function toTool({ blob, encryptedSeed }: Credential): Uint8Array {
  const length = (bytes: Uint8Array) => Buffer.from([bytes.byteLength >> 8, bytes.byteLength & 0xff])
  const head = Buffer.from('badcc0de00000001', 'hex')
  return Buffer.concat([head, length(blob), blob, length(encryptedSeed), encryptedSeed])
}
