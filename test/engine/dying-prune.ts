import { expect, vi } from 'vitest'
import * as files from '../../src/base/files.ts'
import { type PruneBench, profileWith, pruneBench, resticOn } from './prune-bench.ts'

/*
 * dom0 dies at every operation of a prune in turn, before it or with its answer lost: each operation on storage, each
 * append to the ledger, each file of dom0's own. From the moment of death everything fails. Then dom0 starts again on what
 * is there. The test mocks `src/base/files.ts` with spies.
 */

class Death extends Error {}

/** Counts operations; at `deadline` the process dies, before or after the operation. */
class Reaper {
  readonly operations: string[] = []
  #at: { readonly operation: number; readonly when: 'before' | 'after' } | null = null
  #dead = false

  arm(operation: number, when: 'before' | 'after'): void {
    this.operations.length = 0
    this.#dead = false
    this.#at = { operation, when }
  }

  disarm(): void {
    this.#at = null
    this.#dead = false
  }

  get struck(): boolean {
    return this.#dead
  }

  before(what: string): void {
    if (this.#at === null) return
    this.operations.push(what)
    if (this.#dead || (this.#at.when === 'before' && this.operations.length > this.#at.operation))
      this.#die(what)
  }

  after(what: string): void {
    if (this.#at === null) return
    if (this.#dead || (this.#at.when === 'after' && this.operations.length > this.#at.operation))
      this.#die(what)
  }

  #die(what: string): never {
    this.#dead = true
    throw new Death(`died at ${what}`)
  }
}

async function reap(one: PruneBench, reaper: Reaper): Promise<void> {
  one.storage.faults = {
    before: (operation, subject) => reaper.before(`${operation} ${subject.split('/')[0]}`),
    afterPut: name => reaper.after(`put ${name.split('/')[0]}`),
    afterRemove: name => reaper.after(`remove ${name.split('/')[0]}`),
  }
  const append = one.ledger.append.bind(one.ledger)
  vi.spyOn(one.ledger, 'append').mockImplementation(async entries => {
    const what = `append ${entries.map(({ type }) => type).join('+')}`
    reaper.before(what)
    const index = await append(entries)
    reaper.after(what)
    return index
  })
  const real = await vi.importActual<typeof files>('../../src/base/files.ts')
  vi.mocked(files.writeDurably).mockImplementation(async (file, bytes, mode) => {
    const what = `write ${file.includes('/jobs/') ? 'job' : 'copy'}`
    reaper.before(what)
    await real.writeDurably(file, bytes, mode)
    reaper.after(what)
  })
}

const kept = 2

/** No death loses a snapshot that stays, and after each the next prune completes. */
export async function dieAtEveryOperation(when: 'before' | 'after'): Promise<void> {
  const one = await pruneBench(profileWith(`{ keep_last: ${kept} }`))
  const reaper = new Reaper()
  await reap(one, reaper)
  let round = 0
  const day = () => one.backUp(1024 - 128 * (++round % 3), 384 * (round % 2))
  for (let first = 0; first < kept + 1; first++) await day()
  const seen = new Set<string>()
  for (let operation = 0; ; operation++) {
    await day()
    const newest = one.history().snapshots.slice(-kept)
    reaper.arm(operation, when)
    await one.prune().catch(error => expect(error).toBeInstanceOf(Death))
    const { struck } = reaper
    const died = reaper.operations[operation] ?? 'the end'
    seen.add(died)
    reaper.disarm()
    await one.restart()

    const left = one.history().snapshots
    for (const { snapshotId } of newest)
      expect(
        left.some(one => one.snapshotId === snapshotId),
        died,
      ).toBe(true)
    expect(await one.check(), died).toMatchObject({ sound: true })
    if (/^(append prune|append forget|remove|put)/.test(died)) {
      await using restic = await resticOn(one.storage)
      expect(await restic.run('check'), died).toContain('no errors were found')
    }

    const next = await one.prune()
    expect([next.error, died]).toEqual([null, died])
    expect(one.history().snapshots.length, died).toBe(kept)
    expect(await one.check(), died).toMatchObject({ sound: true, ignored: 0 })
    if (!struck) break
  }
  const wanted = [
    'write job',
    'write copy',
    'put data',
    'put index',
    'append forget+prune',
    'remove snapshots',
    'remove index',
    'remove data',
  ]
  expect([...seen]).toEqual(expect.arrayContaining(wanted))
}
