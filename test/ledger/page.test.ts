import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { verifyCheckpoint } from '../../src/ledger/checkpoint.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { Frontier } from '../../src/ledger/merkle.ts'
import { readPage } from '../../src/ledger/page.ts'
import { verifyEntries } from '../../src/ledger/verify.ts'
import { examine } from '../../src/ledger/witness.ts'
import { cosignLedger, type LedgerPage, pageEntriesMax, readLedger } from '../../src/qrexec/calls/ledger.ts'
import { MemoryFiles } from './memory-files.ts'
import { codeOf, jobEntries, logKey, options, snapshotEntry } from './support.ts'

const { response } = readLedger
const sent = (page: LedgerPage) => response.decode(new Untrusted(response.encode(page)))

async function ledgerOf(count: number): Promise<Ledger> {
  const files = new MemoryFiles()
  const ledger = await Ledger.create('.', { ...options, files: () => files })
  await ledger.append(jobEntries(count - 1))
  return ledger
}

describe('strongroom.Ledger', () => {
  it('lets a witness follow page by page, and prove every page', async () => {
    const ledger = await ledgerOf(1200)
    let state = null
    const known = new Frontier()
    const all: Uint8Array[] = []
    for (const count of [500, 500, 200]) {
      const page = sent(await readPage(ledger, all.length))
      expect(page.entries).toHaveLength(count)
      const checkpoint = verifyCheckpoint(new Untrusted(page.checkpoint), logKey)
      state ??= examine(
        null,
        { checkpoint: new Untrusted(page.checkpoint), fromSize: 0, proof: page.consistency },
        logKey,
      )
      all.push(...page.entries)
      if (all.length === checkpoint.size) expect(verifyEntries(all, checkpoint, known).size).toBe(1200)
    }
    expect(state?.size).toBe(1200)
    await ledger.append(jobEntries(2, 5000))
    const page = sent(await readPage(ledger, 1200))
    const submission = { checkpoint: new Untrusted(page.checkpoint), fromSize: 1200, proof: page.consistency }
    expect(examine(state, submission, logKey).size).toBe(1202)
  })

  it('stays within its limits with the largest entries', async () => {
    const ledger = await ledgerOf(2)
    const reference = snapshotEntry('1').index[0]
    const index = Array.from(
      { length: 500 },
      () => reference ?? { id: snapshotEntry('1').manifest, bytes: 1 },
    )
    await ledger.append(Array.from({ length: 60 }, () => ({ ...snapshotEntry('1'), index })))
    let read = 0
    let pages = 0
    while (read < ledger.size) {
      const page = await readPage(ledger, read)
      expect(response.encode(page).byteLength).toBeLessThanOrEqual(response.bytesMax)
      expect(page.entries.length).toBeGreaterThan(0)
      read += sent(page).entries.length
      pages += 1
    }
    expect(pages).toBeGreaterThan(1)
  })

  it('shows whoever has more than there is the smaller checkpoint', async () => {
    const ledger = await ledgerOf(5)
    const page = sent(await readPage(ledger, 9))
    expect([page.entries, page.consistency]).toEqual([[], []])
    const state = { ...ledger.head, size: 9 }
    const submission = { checkpoint: new Untrusted(page.checkpoint), fromSize: 9, proof: [] }
    expect(await codeOf(() => examine(state, submission, logKey))).toBe('LEDGER_BACKWARDS')
  })

  it('refuses a page that is not one', () => {
    const page = { checkpoint: 'x', consistency: [], entries: [] }
    const tries = [
      {},
      { ...page, more: 1 },
      { ...page, consistency: ['AAAA'] },
      { ...page, consistency: ['not base64'] },
      { ...page, consistency: Array.from({ length: 64 }, () => Buffer.alloc(32).toString('base64')) },
      { ...page, entries: Array.from({ length: pageEntriesMax + 1 }, () => '') },
      { ...page, entries: [Buffer.alloc(65_536).toString('base64')] },
    ]
    expect(response.decode(new Untrusted(utf8(JSON.stringify(page))))).toEqual(page)
    for (const one of tries)
      expect(() => response.decode(new Untrusted(utf8(JSON.stringify(one))))).toThrow(CodedError)
  })
})

describe('strongroom.Cosign', () => {
  it('carries a size and a line', () => {
    const { request } = cosignLedger
    const sample = { size: 7, cosignature: '\u2014 a AAAA\n' }
    expect(request.decode(new Untrusted(request.encode(sample)))).toEqual(sample)
    expect(() => request.decode(new Untrusted(utf8('{"size":-1,"cosignature":""}')))).toThrow(CodedError)
  })
})
