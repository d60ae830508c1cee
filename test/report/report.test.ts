import { readFile } from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { fromUtf8, toBase64, utf8 } from '../../src/base/bytes.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { verifyCheckpoint } from '../../src/ledger/checkpoint.ts'
import { formatNote, verifierKey } from '../../src/ledger/note.ts'
import { signCheckpoint } from '../../src/ledger/signing.ts'
import { ReportError } from '../../src/report/errors.ts'
import { encodeReport, nextDue, parseReport } from '../../src/report/report.ts'
import { signReport } from '../../src/report/sign.ts'
import { readUnverified, reportPayloadType, verifyReport } from '../../src/report/verify.ts'
import { levelWords } from '../../src/report/words.ts'
import { encodeEnvelope, parseEnvelope, preAuthEncoding } from '../../src/sealing/envelope.ts'
import { publicKey } from '../../src/sealing/keys.ts'
import { testSigner } from '../ledger/support.ts'
import { dom0, failedReport, key, plain, position, reportOf, statementOf } from './support.ts'

const report = reportOf(position)
const signed = await signReport(report, dom0)

function codeOf(use: () => unknown): string {
  try {
    use()
  } catch (error) {
    if (error instanceof ReportError) return error.code
    throw error
  }
  return 'accepted'
}

describe('the signature', () => {
  test('a signed report says what was signed, with the words of this product', () => {
    const { report: found, keyId } = verifyReport(signed, key)
    const levels = report.levels.map(one => ({ ...one, message: levelWords[one.level].passed }))
    expect(found).toEqual({ ...report, levels })
    expect(keyId).toBe(publicKey('ed25519', dom0.publicKey).id)
    expect(readUnverified(signed)).toEqual(verifyReport(signed, key))
  })

  test('the file is byte for byte that of the vector: what is signed today verifies for ever', async () => {
    const vector = await readFile(path.join(import.meta.dirname, '../vectors/drill/report.json'))
    expect(fromUtf8(signed)).toBe(vector.toString())
    expect(verifyReport(vector, key).report.verdict).toBe('passed')
  })

  test('no byte can change, come or go', () => {
    fc.assert(
      fc.property(fc.nat(signed.byteLength - 1), fc.uint8Array({ maxLength: 3 }), (at, insert) => {
        const bytes = Buffer.concat([signed.subarray(0, at), insert, signed.subarray(at + 1)])
        fc.pre(!bytes.equals(Buffer.from(signed)))
        expect(codeOf(() => verifyReport(bytes, key))).toMatch(/^REPORT_(MALFORMED|SIGNATURE)$/)
      }),
      { numRuns: 400, seed: 7 },
    )
    expect(codeOf(() => verifyReport(Buffer.concat([signed, utf8('\n')]), key))).toBe('REPORT_MALFORMED')
    expect(codeOf(() => verifyReport(new Uint8Array(70_000), key))).toBe('REPORT_MALFORMED')
  })

  test('another key, a witness, or the same key under another name does not verify it', () => {
    const other = testSigner(6).publicKey
    expect(codeOf(() => verifyReport(signed, verifierKey(key.name, 'ed25519', other)))).toBe(
      'REPORT_SIGNATURE',
    )
    expect(codeOf(() => verifyReport(signed, verifierKey('x', 'ed25519', dom0.publicKey)))).toBe(
      'REPORT_SIGNATURE',
    )
    expect(codeOf(() => verifyReport(signed, verifierKey(key.name, 'cosignature/v1', dom0.publicKey)))).toBe(
      'REPORT_SIGNATURE',
    )
  })

  test('without a signature, or with two, it is none', () => {
    const envelope = parseEnvelope(signed, 'test')
    const unsigned = encodeEnvelope({ ...envelope, signatures: [] })
    expect(codeOf(() => verifyReport(unsigned, key))).toBe('REPORT_SIGNATURE')
    expect(codeOf(() => readUnverified(unsigned))).toBe('REPORT_MALFORMED')
    const twice = encodeEnvelope({
      ...envelope,
      signatures: [...envelope.signatures, ...envelope.signatures],
    })
    expect(codeOf(() => verifyReport(twice, key))).toBe('REPORT_SIGNATURE')
  })

  test('a statement of another type, though properly signed, is none', async () => {
    const payload = encodeReport(report)
    const payloadType = 'application/vnd.strongroom.role+json'
    const signature = await dom0.sign(preAuthEncoding(payloadType, payload))
    const keyId = publicKey('ed25519', dom0.publicKey).id
    const bytes = encodeEnvelope({ payloadType, payload, signatures: [{ keyId, signature }] })
    expect(codeOf(() => verifyReport(bytes, key))).toBe('REPORT_MALFORMED')
  })

  test('a signer that answers nonsense is found out at once', async () => {
    const broken = { ...dom0, sign: async () => new Uint8Array(64) }
    await expect(signReport(report, broken)).rejects.toMatchObject({ code: 'REPORT_SIGNATURE' })
  })

  test('neither a checkpoint nor a report can be shown as the other, though one key signs both', async () => {
    const [signature] = parseEnvelope(signed, 'test').signatures
    const text = fromUtf8(preAuthEncoding(reportPayloadType, parseEnvelope(signed, 'test').payload))
    const line = { name: key.name, keyId: key.id, signature: signature?.signature ?? new Uint8Array() }
    const note = formatNote({ text: `${text}\n`, signatures: [line] })
    expect(() => verifyCheckpoint(new Untrusted(note), key)).toThrow(/lines; expected origin, size and root/)
    const checkpoint = await signCheckpoint({ origin: key.name, size: 3, root: new Uint8Array(32) }, dom0)
    const [own] = checkpoint.signatures
    const payload = encodeReport(report)
    const keyId = publicKey('ed25519', dom0.publicKey).id
    const bytes = encodeEnvelope({
      payloadType: reportPayloadType,
      payload,
      signatures: [{ keyId, signature: own?.signature ?? new Uint8Array() }],
    })
    expect(codeOf(() => verifyReport(bytes, key))).toBe('REPORT_SIGNATURE')
  })
})

describe('the statement', () => {
  const parsed = (predicate: Parameters<typeof statementOf>[0]) =>
    codeOf(() => parseReport(utf8(JSON.stringify(statementOf(predicate)))))
  const base = plain(report) as ReturnType<typeof plain> & Record<string, unknown>
  const levels = base.levels as { level: string; result: string; message: string; milliseconds: number }[]

  test('encode and parse are inverse', () => {
    expect(parseReport(encodeReport(report))).toEqual(report)
    expect(parsed(base)).toBe('accepted')
  })

  test.each<[string, Record<string, unknown>]>([
    ['an unknown field', { vm: 'work' }],
    ['a missing field', { tools: undefined }],
    ['a verdict better than its levels', { levels: levels.map(one => ({ ...one, result: 'failed' })) }],
    ['a level that was not reached, and yet passed', { levels: levels.slice(0, 3) }],
    [
      'levels after one that did not pass',
      { levels: levels.map((one, at) => (at === 2 ? { ...one, result: 'failed' } : one)) },
    ],
    ['another verdict than the last level', { verdict: 'failed' }],
    ['no level', { levels: [], verdict: 'failed' }],
    ['a level that nobody wanted', { wanted: ['objects', 'data'] }],
    ['no levels wanted', { wanted: [], levels: [] }],
    ['levels out of order', { wanted: [...levels.map(({ level }) => level)].reverse() }],
    ['data that was proven without a restore', { restore: null }],
    ['an end before the begin', { ended: '2026-11-24T04:14:59.000Z' }],
    ['a time in another form', { began: '2026-11-24T04:15:00Z' }],
    ['a snapshot after the report', { snapshot: { ...(base.snapshot as object), entry: 303 } }],
    ['another snapshot than its subject', { profile: 'nightly' }],
    ['fields in another order', Object.fromEntries(Object.entries(base).reverse())],
    ['a tool that says something else', { tools: ['the passphrase is hunter2'] }],
    ['control characters', { levels: levels.map(one => ({ ...one, message: 'a\u202eb' })) }],
    ['an epoch beyond the names of repositories', { profile: 'p'.repeat(64), epoch: 10_000_000 }],
    ['a root that is none', { ledger: { ...(base.ledger as object), root: toBase64(new Uint8Array(31)) } }],
    ['an origin that is no name', { ledger: { ...(base.ledger as object), origin: 'two words' } }],
  ])('refuses %s', (what, changes) => {
    const changed = { ...base, ...changes }
    const order = what === 'fields in another order' ? (changes as typeof base) : changed
    const statement = statementOf(order)
    if (what === 'another snapshot than its subject')
      Object.assign(statement, { subject: (statementOf(base) as { subject: object }).subject })
    expect(codeOf(() => parseReport(utf8(JSON.stringify(statement))))).toBe('REPORT_MALFORMED')
  })

  test('any bytes give a report or a typed error', () => {
    const honest = encodeReport(report)
    fc.assert(
      fc.property(fc.nat(honest.byteLength - 1), fc.uint8Array({ maxLength: 4 }), (at, insert) => {
        const bytes = Buffer.concat([honest.subarray(0, at), insert, honest.subarray(at + 1)])
        expect(codeOf(() => parseReport(bytes))).toMatch(/^(accepted|REPORT_MALFORMED)$/)
      }),
      { numRuns: 300, seed: 7 },
    )
  })

  test('the next drill is due within the days of the rule, and at once after one that did not pass', () => {
    expect(nextDue(report)).toEqual(new Date('2026-12-24T04:31:07.250Z'))
    expect(nextDue(failedReport())).toEqual(new Date('2026-11-24T04:31:07.250Z'))
    expect(nextDue({ ...report, withinDays: null })).toBeNull()
  })

  test('what a sandbox says of a level goes into no report', async () => {
    const levels = report.levels.map(one => ({ ...one, message: 'work:private has secret.txt' }))
    const bytes = await signReport({ ...report, levels }, dom0)
    expect(fromUtf8(parseEnvelope(bytes, 'test').payload)).not.toContain('secret')
  })
})
