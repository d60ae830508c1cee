import { generateKeyPairSync, sign } from 'node:crypto'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import { Secret } from '../../src/base/secret.ts'
import { extendPcr, readPcrs } from '../../src/tpm/device/pcrs.ts'
import type { Approval } from '../../src/tpm/device/policy-authorize.ts'
import {
  type Fulfilment,
  type SealedSecret,
  sealSecret,
  unsealSecret,
} from '../../src/tpm/device/sealed-secret.ts'
import { approvalKeyName } from '../../src/tpm/public/approval.ts'
import { approvalOf, authorisedPolicy, pcrPolicy } from '../../src/tpm/public/policy.ts'
import { codeOf } from '../support/code-of.ts'
import { flipped } from './expect.ts'
import { type SoftwareTpm, signal, softwareTpm } from './swtpm.ts'

const words = 'what only this state may know'
const first = new Uint8Array(32).fill(1)
const second = new Uint8Array(32).fill(2)
const pcrs = [14]

let swtpm: SoftwareTpm
beforeEach(async () => {
  swtpm = await softwareTpm()
  await extendPcr(swtpm.tpm, 14, first, signal)
})
afterEach(() => swtpm[Symbol.asyncDispose]())

async function seal(policy: Uint8Array): Promise<SealedSecret> {
  using secret = Secret.take(utf8(words))
  return await sealSecret(swtpm.tpm, secret, policy, null, signal)
}

async function unseal(sealed: SealedSecret, fulfilment: Fulfilment = { pcrs }): Promise<string> {
  using secret = await unsealSecret(swtpm.tpm, sealed, fulfilment, null, signal)
  return secret.expose(fromUtf8)
}

async function presentPolicy(): Promise<Uint8Array> {
  return pcrPolicy(await readPcrs(swtpm.tpm, pcrs, signal))
}

describe('a secret sealed to a PCR', () => {
  test('comes back while nothing else was measured, and after a restart that measures the same', async () => {
    const sealed = await seal(await presentPolicy())
    expect(await unseal(sealed)).toBe(words)
    await swtpm.kill()
    await swtpm.start()
    expect(await codeOf(() => unseal(sealed))).toBe('TPM_POLICY_FAILED')
    await extendPcr(swtpm.tpm, 14, first, signal)
    expect(await unseal(sealed)).toBe(words)
  })

  test('stays shut after one more measurement, and leaves nothing in the TPM', async () => {
    const sealed = await seal(await presentPolicy())
    await extendPcr(swtpm.tpm, 14, second, signal)
    for (let time = 0; time < 5; time++) expect(await codeOf(() => unseal(sealed))).toBe('TPM_POLICY_FAILED')
    for (const kind of ['handles-transient', 'handles-loaded-session'])
      expect((await swtpm.tool('tpm2_getcap', kind)).trim()).toBe('')
  })

  test('no other TPM opens it, nor any changed blob', async () => {
    const sealed = await seal(await presentPolicy())
    expect(await codeOf(() => unseal({ ...sealed, sealed: flipped(sealed.sealed, 300) }))).toBe(
      'TPM_CREDENTIAL_WRONG',
    )
    await using other = await softwareTpm()
    await extendPcr(other.tpm, 14, first, signal)
    expect(await codeOf(() => unsealSecret(other.tpm, sealed, { pcrs }, null, signal))).toBe(
      'TPM_CREDENTIAL_WRONG',
    )
    expect(await unseal(sealed)).toBe(words)
  })

  test('nothing is sealed to a PCR into which nothing was measured', async () => {
    for (const pcr of [13, 20]) {
      const values = await readPcrs(swtpm.tpm, [pcr, 14], signal)
      expect(await codeOf(() => pcrPolicy(values))).toBe('TPM_PCR_UNMEASURED')
    }
    expect(await codeOf(() => pcrPolicy(new Map([[16, first]])))).toBe('TPM_PCR_RESETTABLE')
  })

  test('tpm2_policypcr computes the same policy', async () => {
    await swtpm.tool('tpm2_startauthsession', '-S', 'trial')
    await swtpm.tool('tpm2_policypcr', '-S', 'trial', '-l', 'sha256:14', '-L', 'policy')
    await swtpm.tool('tpm2_flushcontext', 'trial')
    expect((await swtpm.tool('od', '-An', '-v', '-tx1', 'policy')).replace(/\s/g, '')).toBe(
      Buffer.from(await presentPolicy()).toString('hex'),
    )
  })
})

describe('a secret sealed to the word of a key', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { x = '', y = '' } = publicKey.export({ format: 'jwk' })
  const point = { x: Buffer.from(x, 'base64url'), y: Buffer.from(y, 'base64url') }
  const reference = utf8('store')

  const approve = (policy: Uint8Array, by = privateKey): Approval => {
    const message = approvalOf(policy, reference)
    const signature = sign('sha256', message, { key: by, dsaEncoding: 'ieee-p1363' })
    return { policy, reference, ...point, signature }
  }
  const sealToKey = () => seal(authorisedPolicy(approvalKeyName(point.x, point.y), reference))

  test('comes back in each state that the key approved, without sealing anew', async () => {
    const sealed = await sealToKey()
    expect(await unseal(sealed, { pcrs, approval: approve(await presentPolicy()) })).toBe(words)
    await extendPcr(swtpm.tpm, 14, second, signal)
    expect(await unseal(sealed, { pcrs, approval: approve(await presentPolicy()) })).toBe(words)
  })

  test('stays shut for a state that was not approved, and for the word of another key', async () => {
    const sealed = await sealToKey()
    const old = approve(await presentPolicy())
    const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    const forged = approve(await presentPolicy(), stranger)
    expect(await codeOf(() => unseal(sealed, { pcrs, approval: forged }))).toBe('TPM_POLICY_FAILED')
    expect(await codeOf(() => unseal(sealed))).toBe('TPM_POLICY_FAILED')
    expect(await unseal(sealed, { pcrs, approval: old })).toBe(words)
    await extendPcr(swtpm.tpm, 14, second, signal)
    expect(await codeOf(() => unseal(sealed, { pcrs, approval: old }))).toMatch(
      /^TPM_(POLICY_FAILED|REFUSED)$/,
    )
    expect((await swtpm.tool('tpm2_getcap', 'handles-transient')).trim()).toBe('')
  })
})
