import { describe, expect, it } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { cosign } from '../../src/ledger/signing.ts'
import { MemoryFiles } from './memory-files.ts'
import { collect, hsm, jobEntries, jobEntry, options, start } from './support.ts'

const on = (files: MemoryFiles) => ({ ...options, audit: 'end' as const, files: () => files })
const open = (files: MemoryFiles) => Ledger.open('.', on(files))

/** What of the unsynced names a crash may leave: all, none, every other, all but the checkpoint, only it. */
const survivals: readonly ((name: string) => boolean)[] = [
  () => true,
  () => false,
  name => name.length % 2 === 0,
  name => name !== 'checkpoint',
  name => name === 'checkpoint',
]

/** Runs `change` with its first, second, … operation failing, up to the run in which none does. */
async function everyFailure(
  before: ReadonlyMap<string, Uint8Array>,
  change: (files: MemoryFiles) => Promise<unknown>,
  dead: boolean,
  judge: (files: MemoryFiles, failed: boolean) => Promise<void>,
): Promise<number> {
  for (let operation = 1; ; operation += 1) {
    const files = new MemoryFiles(before)
    files.failAt(operation, dead)
    const error = await change(files).then(
      () => null,
      (thrown: unknown) => thrown,
    )
    if (error !== null) expect(error).toBeInstanceOf(CodedError)
    const done = files.operations < operation
    files.failAt(Number.POSITIVE_INFINITY, false)
    await judge(files, error !== null)
    if (done) return operation - 1
  }
}

async function ledgerOf(count: number): Promise<MemoryFiles> {
  const files = new MemoryFiles()
  const ledger = await Ledger.create('.', on(files))
  if (count > 1) await ledger.append(jobEntries(count - 1))
  return files
}

/** Either state, whole; the next append succeeds, and the ledger stays readable. */
async function requireOldOrNew(
  files: MemoryFiles,
  before: number,
  after: number,
  durable: boolean,
): Promise<void> {
  for (const keeps of survivals) {
    const left = files.crash(keeps)
    const ledger = await open(left)
    expect([before, after]).toContain(ledger.size)
    if (durable) expect(ledger.size).toBe(after)
    await ledger.append([jobEntry(9999)])
    const again = await open(left.crash(() => false))
    expect(again.size).toBe(ledger.size)
    await again.audit()
  }
}

describe.each([
  ['within a tile', 5, 3],
  ['over the end of a tile', 250, 10],
  ['to the end of a tile', 255, 1],
  ['after the end of a tile', 256, 1],
])('an append %s', (_, before, added) => {
  it.each([
    ['the process stopping', true],
    ['one error', false],
  ])('leaves the old state or the new after %s at any operation', async (_what, dead) => {
    const start = (await ledgerOf(before)).names
    const append = async (files: MemoryFiles) => (await open(files)).append(jobEntries(added, before))
    const operations = await everyFailure(start, append, dead, (files, failed) =>
      requireOldOrNew(files, before, before + added, !failed),
    )
    expect(operations).toBeGreaterThan(15)
  })
})

describe('the same ledger object', () => {
  it('goes on after an error, and knows what was recorded', async () => {
    const start = (await ledgerOf(5)).names
    for (let operation = 1; operation < 30; operation += 1) {
      const files = new MemoryFiles(start)
      const ledger = await open(files)
      files.failAt(operation, false)
      const recorded = await ledger.append([jobEntry(70)]).then(
        () => true,
        () => false,
      )
      const size = ledger.size
      if (recorded) expect(size).toBe(6)
      files.failAt(Number.POSITIVE_INFINITY, false)
      expect(await ledger.append([jobEntry(71)])).toEqual({ index: size, size: size + 1 })
      const again = await open(files.crash(() => false))
      const entries = (await collect(again.entries(5))).map(({ entry }) => entry)
      expect(entries).toEqual(size === 6 ? [jobEntry(70), jobEntry(71)] : [jobEntry(71)])
    }
  })

  it('says that the disk is full', async () => {
    const files = await ledgerOf(5)
    const ledger = await open(files)
    const codes = new Set<unknown>()
    for (let operation = 1; operation < 10; operation += 1) {
      files.failAt(operation, false)
      const error = await ledger.append([jobEntry(1)]).catch(thrown => thrown)
      codes.add(error.code)
    }
    // The file system of this test says ENOSPC where files are written, and EIO elsewhere.
    expect(codes).toEqual(new Set(['LEDGER_FULL', 'LEDGER_WRITE']))
  })
})

describe('a creation', () => {
  it('that stops anywhere leaves no ledger, or one that opens', async () => {
    const create = (files: MemoryFiles) => Ledger.create('.', on(files))
    await everyFailure(new Map(), create, true, async files => {
      for (const keeps of survivals) {
        const left = files.crash(keeps)
        const ledger = await open(left).catch(error => {
          expect(error).toMatchObject({ code: 'LEDGER_MISSING' })
          return Ledger.create('.', on(left))
        })
        expect(ledger.size).toBe(1)
      }
    })
  })
})

describe('a cosignature', () => {
  it('is kept or not, but the ledger always opens', async () => {
    const begin = (await ledgerOf(5)).names
    const add = async (files: MemoryFiles) => {
      const ledger = await open(files)
      const line = await cosign(ledger.head, hsm.name, hsm.signer, start)
      await ledger.addCosignature(new Untrusted(line), 5)
    }
    await everyFailure(begin, add, true, async (files, failed) => {
      for (const keeps of survivals) {
        const ledger = await open(files.crash(keeps))
        if (!failed) expect(ledger.witnessed).toHaveLength(1)
        await ledger.append([jobEntry(1)])
      }
    })
  })
})
