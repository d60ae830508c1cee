import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { counterIndexDefault, tpmCounter } from '../../src/tpm/device/counter.ts'
import { extendPcr, readPcrs } from '../../src/tpm/device/pcrs.ts'
import { quotePcrs } from '../../src/tpm/device/quote.ts'
import { parseAttest, type SignedAttest } from '../../src/tpm/public/attest.ts'
import { attribute } from '../../src/tpm/public/constants.ts'
import { verifyCounter } from '../../src/tpm/public/counter.ts'
import { digestLength } from '../../src/tpm/public/hash.ts'
import { extended, type PcrValues, unmeasured } from '../../src/tpm/public/pcrs.ts'
import { type PublicArea, parsePublicArea } from '../../src/tpm/public/public-area.ts'
import { type QuoteExpectation, verifyQuote } from '../../src/tpm/public/quote.ts'
import { codeOf } from '../support/code-of.ts'
import { allBits, failedItems, flipped } from './expect.ts'
import { type SoftwareTpm, signal, softwareTpm, withAttestationKey, withEndorsementKey } from './swtpm.ts'

const nonce = new Uint8Array(32).fill(1)
const otherNonce = new Uint8Array(32).fill(2)
const measured = new Uint8Array(digestLength).fill(0x5a)

let swtpm: SoftwareTpm
let attestationKey: PublicArea
let pcrs: PcrValues
let quote: SignedAttest

beforeAll(async () => {
  swtpm = await softwareTpm()
  await extendPcr(swtpm.tpm, 14, measured, signal)
  pcrs = await readPcrs(swtpm.tpm, [14], signal)
  await withAttestationKey(swtpm.tpm, async key => {
    attestationKey = key.area
    quote = await quotePcrs(swtpm.tpm, key, nonce, [14], signal)
  })
})
afterAll(() => swtpm[Symbol.asyncDispose]())

function failing(changed: Partial<QuoteExpectation>, statement = quote): readonly string[] {
  const verdict = verifyQuote(statement, { attestationKey, nonce, pcrs, ...changed })
  const failed = failedItems(verdict.checks)
  expect(verdict.isAccepted).toBe(failed.length === 0)
  return failed
}

function time(statement = quote) {
  const { time: told, firmware } = parseAttest(statement.attest)
  return { ...told, firmware }
}

describe('an honest quote', () => {
  test('is accepted, and says what was not checked', () => {
    const { isAccepted, checks } = verifyQuote(quote, { attestationKey, nonce, pcrs })
    expect(isAccepted).toBe(true)
    expect(checks.filter(({ verdict }) => verdict === 'unchecked').map(({ item }) => item)).toEqual([
      'firmware',
      'time',
    ])
  })
  test('with the firmware and the time that were told before', () => {
    const { checks } = verifyQuote(quote, {
      attestationKey,
      nonce,
      pcrs,
      firmware: time().firmware,
      since: time(),
    })
    expect(checks.map(({ verdict }) => verdict)).toEqual(Array(checks.length).fill('passed'))
  })
  test('holds what replaying the measurement gives', () => {
    expect(pcrs.get(14)).toEqual(extended(unmeasured, measured))
  })
  test('of many PCRs, more than a TPM reads at once', async () => {
    const many = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]
    for (const pcr of many.slice(0, -1)) await extendPcr(swtpm.tpm, pcr, measured, signal)
    const values = await readPcrs(swtpm.tpm, many, signal)
    expect([...values.keys()]).toEqual(many)
    const statement = await withAttestationKey(swtpm.tpm, key =>
      quotePcrs(swtpm.tpm, key, nonce, many, signal),
    )
    expect(failing({ pcrs: values }, statement)).toEqual([])
  })
})

describe('one fault, one reason', () => {
  test('another nonce: a replayed quote', () => {
    expect(failing({ nonce: otherNonce })).toEqual(['nonce'])
    expect(failing({ nonce: nonce.subarray(1) })).toEqual(['nonce'])
  })

  test('the key of another TPM', async () => {
    await using other = await softwareTpm()
    await withAttestationKey(other.tpm, async key => {
      expect(failing({ attestationKey: key.area })).toEqual(['signature'])
      await extendPcr(other.tpm, 14, measured, signal)
      const theirs = await quotePcrs(other.tpm, key, nonce, [14], signal)
      expect(failing({}, theirs)).toEqual(['signature'])
      expect(failing({ attestationKey: key.area }, theirs)).toEqual([])
    })
  })

  test('a key that could sign what no TPM made', () => {
    for (const lacking of [
      attribute.restricted,
      attribute.fixedTpm,
      attribute.sensitiveDataOrigin,
      attribute.sign,
    ]) {
      const bytes = new Uint8Array(attestationKey.bytes)
      new DataView(bytes.buffer).setUint32(4, attestationKey.attributes & ~lacking)
      expect(failing({ attestationKey: parsePublicArea(bytes) })).toEqual(['key'])
    }
  })

  test('an endorsement key in the place of an attestation key', async () => {
    for (const kind of ['p256', 'rsa'] as const)
      await withEndorsementKey(swtpm.tpm, kind, async key => {
        expect(failing({ attestationKey: key.area })).toEqual(['key'])
      })
  })

  test('a key that hangs elsewhere in the TPM', () => {
    expect(failing({ parents: [attestationKey.name] })).toEqual(['signer'])
  })

  test('a statement of another kind, properly signed', async () => {
    const counter = tpmCounter(swtpm.tpm)
    await counter.define(signal)
    const certified = await withAttestationKey(swtpm.tpm, key => counter.certify(key, nonce, signal))
    const { checks, isAccepted } = verifyQuote(certified, { attestationKey, nonce, pcrs })
    expect([isAccepted, failedItems(checks)]).toEqual([false, ['type']])
    const backwards = verifyCounter(quote, { attestationKey, nonce, index: counterIndexDefault })
    expect([backwards.isAccepted, failedItems(backwards.checks), backwards.value]).toEqual([
      false,
      ['type'],
      null,
    ])
  })

  test('other PCRs than were asked for', () => {
    expect(failing({ pcrs: new Map([[13, pcrs.get(14) ?? unmeasured]]) })).toEqual(['selection'])
    expect(failing({ pcrs: new Map([...pcrs, [7, measured]]) })).toEqual(['selection', 'digest'])
    expect(failing({ pcrs: new Map() })).toEqual(['selection', 'digest'])
  })

  test.each([16, 23])('PCR %i, which every program can reset', async pcr => {
    expect(failing({ pcrs: new Map([[pcr, measured]]) })).toContain('selection')
    expect(await codeOf(() => extendPcr(swtpm.tpm, pcr, measured, signal))).toBe('TPM_PCR_RESETTABLE')
    expect(await codeOf(() => readPcrs(swtpm.tpm, [pcr], signal))).toBe('TPM_PCR_RESETTABLE')
  })

  test('one more measurement', async () => {
    await extendPcr(swtpm.tpm, 14, measured, signal)
    const later = await withAttestationKey(swtpm.tpm, key => quotePcrs(swtpm.tpm, key, nonce, [14], signal))
    expect(failing({}, later)).toEqual(['digest'])
    expect(failing({ pcrs: await readPcrs(swtpm.tpm, [14], signal) }, later)).toEqual([])
  })

  test.each([
    [13, 0, 'zeros'],
    [20, 0xff, 'ones'],
  ])('PCR %i that is all %i: nothing was measured', async (pcr, byte, word) => {
    const statement = await withAttestationKey(swtpm.tpm, key =>
      quotePcrs(swtpm.tpm, key, nonce, [pcr], signal),
    )
    const blank = new Map([[pcr, new Uint8Array(digestLength).fill(byte)]])
    expect(await readPcrs(swtpm.tpm, [pcr], signal)).toEqual(blank)
    // Whoever expects just that must not be told that all is well.
    expect(failing({ pcrs: blank }, statement)).toEqual(['measured'])
    const expected = { attestationKey, nonce, pcrs: new Map([[pcr, measured]]) }
    const { checks } = verifyQuote(statement, expected)
    expect(failedItems(checks)).toEqual(['measured', 'digest'])
    expect(checks.find(({ item }) => item === 'measured')?.words).toContain(word)
  })

  test('other firmware', () => {
    expect(failing({ firmware: time().firmware + 1n })).toEqual(['firmware'])
  })

  test('counting that went back: another state of the TPM was put back', () => {
    const now = time()
    for (const since of [
      { ...now, resetCount: now.resetCount + 1 },
      { ...now, restartCount: now.restartCount + 1 },
      { ...now, clock: now.clock + 1n },
    ])
      expect(failing({ since })).toEqual(['time'])
  })
})

describe('bytes', () => {
  test('every bit of the statement counts', () => {
    for (const bit of allBits(quote.attest))
      expect(failing({}, { ...quote, attest: flipped(quote.attest, bit) }), `bit ${bit}`).toEqual([
        'signature',
      ])
  })
  test('every bit of the signature counts', () => {
    for (const bit of allBits(quote.signature))
      expect(failing({}, { ...quote, signature: flipped(quote.signature, bit) }), `bit ${bit}`).toEqual([
        'signature',
      ])
  })
  test('every length but the right one is refused', () => {
    for (let length = 0; length < quote.attest.byteLength; length++)
      expect(failing({}, { ...quote, attest: quote.attest.subarray(0, length) })).toEqual(['signature'])
    for (let length = 0; length < quote.signature.byteLength; length++)
      expect(failing({}, { ...quote, signature: quote.signature.subarray(0, length) })).toEqual(['signature'])
  })
  test('the parsers end with their own error wherever the bytes end or change', async () => {
    const parsers = [
      [parseAttest, quote.attest],
      [parsePublicArea, attestationKey.bytes],
    ] as const
    for (const [parse, bytes] of parsers) {
      for (let length = 0; length < bytes.byteLength; length++)
        expect(await codeOf(() => parse(bytes.subarray(0, length)))).toMatch(/^TPM_(MALFORMED|KEY_INVALID)$/)
      expect(await codeOf(() => parse(new Uint8Array([...bytes, 0])))).toBe('TPM_MALFORMED')
      for (const bit of allBits(bytes))
        expect(await codeOf(() => parse(flipped(bytes, bit)))).toMatch(/^ok$|^TPM_(MALFORMED|KEY_INVALID)$/)
    }
  })
})
