import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { attestationBytesMax } from '../../src/qrexec/calls/attest.ts'
import { releasePassphrase, witnessLedger } from '../../src/qrexec/calls/release.ts'
import { codeOf, secret, textOf } from './support.ts'

const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
const hashes = fc.array(hash, { maxLength: 63 })
const checkpoint = fc.string({ unit: 'grapheme', maxLength: 300 })
const witnessCall = fc.record({ checkpoint, consistency: fc.record({ from: fc.nat(), proof: hashes }) })
const bytes = fc.uint8Array({ maxLength: 64 })
const attested = fc.record({
  attestation: bytes,
  endorsementKey: bytes,
  attestationKey: bytes,
  certificate: fc.option(bytes),
  activated: fc.option(bytes),
  software: fc.boolean(),
  storePcr: fc.nat(23),
  counter: fc.option(fc.record({ index: fc.nat(), base: fc.integer() })),
})
const releaseCall = fc.record({
  entry: fc.uint8Array({ maxLength: 500 }),
  index: fc.nat(),
  checkpoint,
  inclusion: hashes,
  consistency: fc.record({ from: fc.nat(), proof: hashes }),
  attested: fc.option(attested),
})
const { request, response } = releasePassphrase
const passphrase = 'correct horse battery staple'
const cosignature = '— strongroom/witness/hsm AAAA\n'

/** A copy: decoding an answer zeroes the passphrase in what it is given. */
const untrusted = (bytes: Uint8Array) => new Untrusted(Uint8Array.from(bytes))

describe('requests', () => {
  it('decode to what was encoded', () => {
    fc.assert(
      fc.property(releaseCall, call => {
        expect(request.decode(untrusted(request.encode(call)))).toEqual(call)
      }),
      { seed: 1 },
    )
    fc.assert(
      fc.property(witnessCall, call => {
        expect(witnessLedger.request.decode(untrusted(witnessLedger.request.encode(call)))).toEqual(call)
      }),
      { seed: 2 },
    )
  })

  it('that were changed give a value or a coded error', () => {
    fc.assert(
      fc.property(releaseCall, fc.nat(), fc.nat(255), (call, at, byte) => {
        const bytes = request.encode(call)
        bytes[at % bytes.byteLength] = byte
        expectCoded(() => request.decode(untrusted(bytes)))
      }),
      { seed: 3, numRuns: 300 },
    )
  })

  it('of the largest entry and the longest proofs fit', () => {
    const proof = Array<Uint8Array>(63).fill(new Uint8Array(32))
    const call = {
      entry: new Uint8Array(0xffff),
      index: 2 ** 52,
      checkpoint: 'x'.repeat(64 * 1024),
      inclusion: proof,
      consistency: { from: 2 ** 52, proof },
      attested: {
        attestation: new Uint8Array(attestationBytesMax),
        endorsementKey: new Uint8Array(1024),
        attestationKey: new Uint8Array(1024),
        certificate: new Uint8Array(8192),
        activated: new Uint8Array(64),
        software: false,
        storePcr: 14,
        counter: { index: 2 ** 32 - 1, base: Number.MIN_SAFE_INTEGER },
      },
    }
    const bytes = request.encode(call)
    expect(bytes.byteLength).toBeLessThanOrEqual(request.bytesMax)
    expect(request.decode(untrusted(bytes))).toEqual(call)
  })
})

describe('answers', () => {
  it('carry cosignature and passphrase, and end the secret they were made of', () => {
    const given = secret(passphrase)
    const bytes = response.encode({ cosignature, passphrase: given })
    expect(() => given.expose(() => 0)).toThrow('after it was zeroed')
    const answer = response.decode(new Untrusted(bytes))
    if (!('passphrase' in answer)) throw new Error('expected a passphrase')
    expect(answer.cosignature).toBe(cosignature)
    expect(textOf(answer.passphrase)).toBe(passphrase)
    expect(Buffer.from(bytes).includes(passphrase)).toBe(false)
  })

  it('may say from where the witness wants the proof', () => {
    expect(response.decode(untrusted(response.encode({ witnessSize: 7 })))).toEqual({ witnessSize: 7 })
    const { encode, decode } = witnessLedger.response
    expect(decode(untrusted(encode({ witnessSize: 7 })))).toEqual({ witnessSize: 7 })
    expect(decode(untrusted(encode({ cosignature })))).toEqual({ cosignature })
  })

  it.each([
    ['nothing', ''],
    ['no header', passphrase],
    ['an empty passphrase', `${JSON.stringify({ cosignature })}\n`],
    ['too long a passphrase', `${JSON.stringify({ cosignature })}\n${'x'.repeat(1025)}`],
    ['a passphrase that is not announced', `{"witnessSize":7}\n${passphrase}`],
    ['both kinds of header', `{"witnessSize":7,"cosignature":"x"}\n${passphrase}`],
    ['an unknown header', `{"other":7}\n${passphrase}`],
  ])('of %s are refused', async (_, text) => {
    const code = await codeOf(() => response.decode(untrusted(Buffer.from(text))))
    expect(['FIELD_INVALID', 'JSON_INVALID']).toContain(code)
  })

  it('that were changed give a value or a coded error', () => {
    const at = fc.nat()
    fc.assert(
      fc.property(at, fc.nat(255), (place, byte) => {
        const bytes = response.encode({ cosignature, passphrase: secret(passphrase) })
        bytes[place % bytes.byteLength] = byte
        expectCoded(() => response.decode(untrusted(bytes)))
      }),
      { seed: 4, numRuns: 300 },
    )
  })
})

function expectCoded(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    expect(error).toBeInstanceOf(CodedError)
  }
}
