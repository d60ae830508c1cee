import { expect, it } from 'vitest'
import { parseDigest, parseJobId } from '../../src/base/names.ts'
import { type PruneRecord, pruneEntries } from '../../src/engine/prune-entries.ts'
import { encodeEntry, parseEntry } from '../../src/ledger/entry.ts'
import { type LedgerHistory, readHistory } from '../../src/ledger/history.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { origin, profile, repositoryEntry, snapshotEntry, start } from '../ledger/support.ts'

const digest = (number: number) => parseDigest(number.toString(16).padStart(64, '0'))
const object = (number: number) => ({ id: digest(number), bytes: 16_000_000 + number })

/** A ledger of so many snapshots, each with an index of its own. */
async function ledgerOf(snapshots: number): Promise<LedgerHistory> {
  const entries = [
    { type: 'genesis' as const, time: start, origin },
    repositoryEntry(),
    ...Array.from({ length: snapshots }, (_, at) => ({
      ...snapshotEntry('1'),
      snapshot: object(at),
      snapshotId: digest(at) as unknown as ReturnType<typeof snapshotEntry>['snapshotId'],
    })),
  ]
  async function* numbered() {
    for (const [index, entry] of entries.entries()) yield { index, entry }
  }
  return readHistory(numbered())
}

function repositoryOf(ledger: LedgerHistory): RepositoryHistory {
  const history = ledger.repository(profile, 1)
  if (history === null) throw new Error('no repository')
  return history
}

it('lists that are too long for one entry go on in the next, and add up to the same', async () => {
  const ledger = await ledgerOf(2500)
  const before = repositoryOf(ledger)
  const index = Array.from({ length: 900 }, (_, at) => ({
    ...object(10_000 + at),
    packs: [object(20_000 + at)],
  }))
  const added = [object(1), object(2)]
  const record: PruneRecord = {
    time: start,
    job: parseJobId('20261124T031500Z-00000001'),
    history: before,
    configuration: digest(7),
    forgotten: before.snapshots.slice(0, 2000),
    plan: { replaced: before.indexSets.slice(0, 2200) },
    rewritten: { index, added, rewritten: [object(3)] },
    removal: { snapshots: [object(4)], index: [object(5)], packs: [object(3)] },
  }
  const { forgets, prunes } = pruneEntries(record)
  expect([forgets.length, prunes.length]).toEqual([3, 3])
  for (const entry of [...forgets, ...prunes]) expect(parseEntry(encodeEntry(entry))).toEqual(entry)
  expect(prunes.map(one => [one.added, one.rewritten.count, one.removed.count])).toEqual([
    [summarisePacks(added), 1, 3],
    [summarisePacks([]), 0, 0],
    [summarisePacks([]), 0, 0],
  ])
  for (const entry of [...forgets, ...prunes]) ledger.add(ledger.size, entry)
  const history = repositoryOf(ledger)
  expect([history.snapshots.length, history.forgotten.length]).toEqual([500, 2000])
  expect(history.indexSets.slice(0, 300)).toEqual(before.indexSets.slice(2200))
  const sets = history.indexSets.slice(300)
  expect(sets.flatMap(set => set.index.map(({ id }) => id))).toEqual(index.map(({ id }) => id))
  expect(sets.reduce((sum, { packs }) => sum + packs.count, 0)).toBe(900)
})

it('of nothing but removals is one entry', async () => {
  const history = repositoryOf(await ledgerOf(1))
  const { forgets, prunes } = pruneEntries({
    time: start,
    job: parseJobId('20261124T031500Z-00000001'),
    history,
    configuration: digest(7),
    forgotten: [],
    plan: { replaced: [] },
    rewritten: { index: [], added: [], rewritten: [] },
    removal: { snapshots: [], index: [object(5)], packs: [] },
  })
  expect([forgets, prunes.length]).toEqual([[], 1])
  expect(prunes[0]).toMatchObject({ replaces: [], index: [], removed: { count: 1 } })
})
