import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import {
  checkpointBody,
  formatCheckpoint,
  parseCheckpoint,
  verifyCheckpoint,
  verifyCosignatureLine,
  verifyCosignatures,
} from '../../src/ledger/checkpoint.ts'
import { leafHash } from '../../src/ledger/merkle.ts'
import {
  formatVerifierKey,
  parseSignatureLine,
  parseVerifierKey,
  verifierKey,
} from '../../src/ledger/note.ts'
import { cosign, signCheckpoint } from '../../src/ledger/signing.ts'
import {
  codeOf,
  hsm,
  hsmKey,
  logKey,
  logSigner,
  managementKey,
  origin,
  start,
  testSigner,
} from './support.ts'

const checkpoint = { origin, size: 7, root: leafHash(new Uint8Array(3)) }
const signed = formatCheckpoint(await signCheckpoint(checkpoint, logSigner))
const line = await cosign(checkpoint, hsm.name, hsm.signer, start)
const verify = (text: string, key = logKey) => verifyCheckpoint(new Untrusted(text), key)

describe('signed notes', () => {
  it('reads the example of the specification', () => {
    const example = `example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u2014 witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
`
    const parsed = parseCheckpoint(example)
    expect([parsed.origin, parsed.size, parsed.signatures.length]).toEqual([
      'example.com/behind-the-sofa',
      20_852_163,
      2,
    ])
    expect(formatCheckpoint(parsed)).toBe(example)
  })

  it('writes and reads verifier keys', async () => {
    // The key of Go's checksum database, as its documentation prints it.
    const go = 'sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8'
    expect(formatVerifierKey(parseVerifierKey(go))).toBe(go)
    expect(parseVerifierKey(formatVerifierKey(hsmKey))).toEqual(hsmKey)
    for (const text of [
      '',
      'a+b',
      go.replace('033de0ae', '033de0af'),
      go.replace('+Ac', '+Bc'),
      `${go}A`,
      ` ${go}`,
    ])
      expect(await codeOf(() => parseVerifierKey(text))).toBe('LEDGER_NOTE_INVALID')
  })
})

describe('checkpoints', () => {
  it('verifies what was signed', () => {
    expect(verify(signed)).toMatchObject(checkpoint)
    expect(checkpointBody(checkpoint).split('\n').slice(0, 2)).toEqual([origin, '7'])
  })

  it('keeps the lines of unknown keys without judging them', async () => {
    const stranger = await cosign(checkpoint, 'example.org/w', testSigner(9), start)
    const found = verify(signed + stranger + line)
    expect(found.signatures).toHaveLength(3)
    expect(verifyCosignatures(found, [hsmKey, managementKey]).map(one => one.witness.name)).toEqual([
      hsm.name,
    ])
  })

  it('refuses another key, another ledger, and no signature', async () => {
    expect(await codeOf(() => verify(signed, { ...logKey, publicKey: hsmKey.publicKey }))).toBe(
      'LEDGER_SIGNATURE',
    )
    expect(await codeOf(() => verify(signed, verifierKey(origin, 'ed25519', hsmKey.publicKey)))).toBe(
      'LEDGER_SIGNATURE',
    )
    const elsewhere = verifierKey('strongroom.example/other', 'ed25519', logKey.publicKey)
    expect(await codeOf(() => verify(signed, elsewhere))).toBe('LEDGER_ORIGIN')
    expect(await codeOf(() => verify(`${checkpointBody(checkpoint)}\n${line}`))).toBe('LEDGER_SIGNATURE')
  })

  it('refuses a note in which one of two lines of the known key is wrong', async () => {
    const other = await signCheckpoint({ ...checkpoint, size: 8 }, logSigner)
    const wrong = formatCheckpoint({
      ...checkpoint,
      signatures: [...verify(signed).signatures, ...other.signatures],
    })
    expect(await codeOf(() => verify(wrong))).toBe('LEDGER_SIGNATURE')
  })

  it('refuses every change of a single character', () => {
    for (let at = 0; at < signed.length; at += 1) {
      const changed = `${signed.slice(0, at)}${signed[at] === 'A' ? 'B' : 'A'}${signed.slice(at + 1)}`
      expect(() => verify(changed)).toThrow(CodedError)
    }
  })

  it.each([
    ['leading zero', signed.replace('\n7\n', '\n07\n')],
    ['sign', signed.replace('\n7\n', '\n-7\n')],
    ['too large a size', signed.replace('\n7\n', '\n9999999999999999\n')],
    ['extension line', signed.replace('\n\n', '\nmore\n\n')],
    ['control character', signed.replace('7', '7\u0000')],
    ['carriage return', signed.replaceAll('\n', '\r\n')],
    ['no last newline', signed.slice(0, -1)],
    ['hyphen for a dash', signed.replace('\u2014', '-')],
    ['short root', signed.replace(/\n[^\n]+=\n\n/, '\nAAAA\n\n')],
    ['unpadded base64', signed.replace('=\n\n', '\n\n')],
    ['too many lines', signed + line.repeat(70)],
    ['too long', signed + line.repeat(1000)],
    ['nothing', ''],
  ])('refuses a checkpoint with %s', async (_, text) => {
    expect(await codeOf(() => verify(text))).toBe('LEDGER_NOTE_INVALID')
  })

  it('answers any text with a value or a coded error', () => {
    const pieces = fc.constantFrom('\n', '\n\n', '\u2014 ', 'a ', '7', '=', signed, line, '\ud800', ' ')
    fc.assert(
      fc.property(fc.array(fc.oneof(pieces, fc.string()), { maxLength: 12 }), parts => {
        for (const parse of [parseCheckpoint, parseSignatureLine, parseVerifierKey])
          try {
            parse(parts.join(''))
          } catch (error) {
            expect(error).toBeInstanceOf(CodedError)
          }
      }),
    )
  })
})

describe('cosignatures', () => {
  const check = (text: string, of = checkpoint) => verifyCosignatureLine(new Untrusted(text), of, [hsmKey])

  it('says who and when', () => {
    expect(check(line)).toMatchObject({ witness: hsmKey, time: start })
  })

  it('refuses another checkpoint, another time, an unknown witness and a plain signature', async () => {
    expect(await codeOf(() => check(line, { ...checkpoint, size: 8 }))).toBe('LEDGER_SIGNATURE')
    const { name, keyId, signature } = parseSignatureLine(line)
    const later = signature.with(7, (signature[7] ?? 0) ^ 1)
    const moved = `\u2014 ${name} ${Buffer.concat([keyId, later]).toString('base64')}\n`
    expect(await codeOf(() => check(moved))).toBe('LEDGER_SIGNATURE')
    expect(await codeOf(async () => check(await cosign(checkpoint, hsm.name, testSigner(9), start)))).toBe(
      'LEDGER_SIGNATURE',
    )
    const plain = `\u2014 ${name} ${Buffer.concat([keyId, new Uint8Array(64)]).toString('base64')}\n`
    expect(await codeOf(() => check(plain))).toBe('LEDGER_SIGNATURE')
  })

  it('takes the newest of two by one witness', async () => {
    const later = await cosign(checkpoint, hsm.name, hsm.signer, new Date(start.getTime() + 60_000))
    const [found] = verifyCosignatures(verify(signed + later + line), [hsmKey])
    expect(found?.time).toEqual(new Date(start.getTime() + 60_000))
  })
})

describe('signing', () => {
  it('refuses a signer whose signature its own key does not verify, and one that fails', async () => {
    const liar = { publicKey: logSigner.publicKey, sign: testSigner(9).sign }
    expect(await codeOf(() => signCheckpoint(checkpoint, liar))).toBe('LEDGER_SIGNER')
    const gone = { publicKey: logSigner.publicKey, sign: () => Promise.reject(new Error('token removed')) }
    expect(await codeOf(() => cosign(checkpoint, hsm.name, gone, start))).toBe('LEDGER_SIGNER')
  })
})
