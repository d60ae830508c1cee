import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { beforeAll, describe, expect, test } from 'vitest'
import { toBase64 } from '../../src/base/bytes.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { formatVerifierKey } from '../../src/ledger/note.ts'
import { signReport } from '../../src/report/sign.ts'
import { clock, jobEntries, repositoryEntry, snapshotEntry, testSigner } from '../ledger/support.ts'
import { dom0, failedReport, key, rawKey, reportedLedger } from '../report/support.ts'
import { scratch } from '../support/scratch.ts'
import { runHere } from './harness.ts'

/* Without a system: no API, no token, no network. */

const directory = scratch('drill')
const at = (name: string) => path.join(directory, name)
const run = (...argv: readonly string[]) => runHere(['drill', ...argv])

beforeAll(async () => {
  const { report } = await reportedLedger(at('ledger'))
  await writeFile(at('report.json'), await signReport(report, dom0))
  await writeFile(at('failed.json'), await signReport(failedReport(), dom0))
  await writeFile(at('key'), `${formatVerifierKey(key)}\n`)
})

describe('verify', () => {
  test.each([
    ['raw base64', () => rawKey],
    ['a verifier key', () => formatVerifierKey(key)],
    ['a file', () => at('key')],
  ])('a report verifies with the key as %s', async (_, given) => {
    const { code, stdout, stderr } = await run('verify', at('report.json'), '--key', given())
    expect([code, stderr]).toEqual([0, ''])
    expect(stdout).toContain('passed  The drill passed.\n')
    expect(stdout).toContain('restored   1.5 GiB in 3:07 from the order to the last volume, at 12.0 MiB/s\n')
    expect(stdout).toContain('next drill by 2026-12-24 04:31:07 UTC\n')
    expect(stdout).toContain(`signature  genuine, of ${key.name}\nledger     not compared`)
  })

  test('--json has the report as it was signed', async () => {
    const { stdout } = await run('verify', at('report.json'), '--key', rawKey, '--json')
    const bytes = await readFile(at('report.json'))
    const envelope = JSON.parse(bytes.toString()) as { payload: string; signatures: { keyid: string }[] }
    expect(JSON.parse(stdout)).toEqual({
      v: 1,
      type: 'drill-verified',
      verified: true,
      digest: sha256Hex(bytes),
      key: envelope.signatures[0]?.keyid,
      report: JSON.parse(Buffer.from(envelope.payload, 'base64').toString()).predicate,
      ledgerSize: null,
    })
  })

  test('a genuine report of a drill that failed is told, and exits with 1', async () => {
    const { code, stdout, stderr } = await run('verify', at('failed.json'), '--key', rawKey)
    expect(code).toBe(1)
    expect(stdout).toContain('failed  The drill failed.\n')
    expect(stdout).toContain('filesystem failed  A partition table or file system was found damaged')
    expect(stdout).toContain('boot       not reached\n')
    expect(stdout).toContain('next drill now: this one did not pass\n')
    expect(stderr).toContain('[CLI_DRILL_NOT_PASSED]')
  })

  test('another key, another file, no file', async () => {
    const other = await run('verify', at('report.json'), '--key', toBase64(testSigner(9).publicKey))
    expect(other).toMatchObject({ code: 4, stdout: '' })
    expect(other.stderr).toContain('[REPORT_SIGNATURE]')
    const wrong = await run('verify', at('key'), '--key', rawKey)
    expect(wrong).toMatchObject({ code: 4, stdout: '' })
    expect(wrong.stderr).toContain('[REPORT_MALFORMED]')
    for (const file of ['nothing.json', 'ledger'])
      expect(await run('verify', at(file), '--key', rawKey)).toMatchObject({
        code: 2,
        stderr: expect.stringContaining('[CLI_REPORT_FILE]'),
      })
    expect(await run('verify', at('report.json'))).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--key'),
    })
  })
})

describe('--ledger', () => {
  const verify = (ledger: string, file = 'report.json') =>
    run('verify', at(file), '--key', rawKey, '--ledger', at(ledger))
  const ledgerOf = (name: string) => Ledger.create(at(name), { origin: key.name, signer: dom0, clock })

  test('a copy that went on since has the root and the snapshot of the report', async () => {
    const { code, stdout } = await verify('ledger')
    expect(code).toBe(0)
    expect(stdout).toContain(
      'ledger     the copy, of 308 entries, has what the report says it had at 303, and the snapshot\n',
    )
  })

  test('one that ends before, one with another history, one with another snapshot, none', async () => {
    const short = await ledgerOf('short')
    expect(await verify('short')).toMatchObject({
      code: 11,
      stdout: '',
      stderr: expect.stringContaining('[REPORT_AHEAD_OF_LEDGER]'),
    })
    await short.append([repositoryEntry(), snapshotEntry('c'), ...jobEntries(300, 1)])
    expect(await verify('short')).toMatchObject({
      code: 4,
      stderr: expect.stringContaining('[REPORT_NOT_IN_LEDGER]'),
    })
    const { report } = await reportedLedger(at('again'))
    const { snapshot } = report
    for (const [changed, why] of [
      [{ ...snapshot, entry: 3 }, 'entry 3 is not the snapshot'],
      [{ ...snapshot, manifest: report.configuration }, 'entry 2 says otherwise'],
    ] as const) {
      await writeFile(at('changed.json'), await signReport({ ...report, snapshot: changed }, dom0))
      expect(await verify('again', 'changed.json')).toMatchObject({
        code: 4,
        stderr: expect.stringContaining(why),
      })
    }
    expect(await verify('nowhere')).toMatchObject({
      code: 10,
      stderr: expect.stringContaining('[LEDGER_MISSING]'),
    })
  })
})

describe('report', () => {
  test('the page is made of the file, and says whether that was verified', async () => {
    const page = await run('report', at('report.json'), '--html', '--key', rawKey)
    expect([page.code, page.stderr]).toEqual([0, ''])
    expect(page.stdout).toMatch(/^<!DOCTYPE html>/)
    expect(page.stdout).toContain('was verified with the key below')
    const unverified = await run('report', at('report.json'), '--html')
    expect(unverified.stderr).toBe('the signature was not verified: --key does\n')
    expect(unverified.stdout).toContain('was NOT verified')
    const forged = await run(
      'report',
      at('report.json'),
      '--html',
      '--key',
      toBase64(testSigner(9).publicKey),
    )
    expect(forged).toMatchObject({ code: 4, stdout: '' })
  })

  test('as text and as JSON; one form at a time', async () => {
    expect((await run('report', at('failed.json'))).stdout).toContain('failed  The drill failed.\n')
    const json = JSON.parse((await run('report', at('report.json'), '--json')).stdout)
    expect(json).toMatchObject({ type: 'drill-report', verified: false, report: { verdict: 'passed' } })
    expect(await run('report', at('report.json'), '--html', '--json')).toMatchObject({ code: 2, stdout: '' })
  })
})

describe('without this software', () => {
  /** The block of the how-to, as a person would run it. */
  async function verifyByHand(report: string, publicKey: string) {
    const text = await readFile(
      path.join(import.meta.dirname, '../../docs/how-to/verify-a-drill-report.md'),
      'utf8',
    )
    const [, block = ''] = /^```sh drill report\n(.*?)^```$/ms.exec(text) ?? []
    mkdirSync(at('by-hand'), { recursive: true })
    return spawnSync('sh', ['-eu', '-c', block], {
      cwd: at('by-hand'),
      env: { PATH: process.env.PATH, REPORT: report, KEY: publicKey },
      encoding: 'utf8',
    })
  }

  test('openssl verifies it as the how-to says, and refuses another key and another content', async () => {
    const honest = await verifyByHand(at('report.json'), rawKey)
    expect([honest.status, honest.stdout]).toEqual([0, 'Signature Verified Successfully\n'])
    const statement = JSON.parse(await readFile(at('by-hand/statement.json'), 'utf8'))
    expect(statement).toMatchObject({
      _type: 'https://in-toto.io/Statement/v1',
      predicateType: 'https://strongroom.example/attestation/drill/v1',
      predicate: { verdict: 'passed' },
    })
    const der = execFileSync('openssl', ['pkey', '-pubin', '-in', at('by-hand/key.pem'), '-outform', 'der'])
    const { stdout } = await run('report', at('report.json'), '--json')
    expect(JSON.parse(stdout).key).toBe(sha256Hex(der))

    expect((await verifyByHand(at('report.json'), toBase64(testSigner(9).publicKey))).status).not.toBe(0)
    const text = await readFile(at('failed.json'), 'utf8')
    const payload = /"payload":"([^"]*)"/.exec(text)?.[1] ?? ''
    const better = Buffer.from(payload, 'base64').toString().replaceAll('"failed"', '"passed"')
    await writeFile(at('better.json'), text.replace(payload, Buffer.from(better).toString('base64')))
    expect((await verifyByHand(at('better.json'), rawKey)).status).not.toBe(0)
  })
})
