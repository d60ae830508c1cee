import fc from 'fast-check'
import { expect, it } from 'vitest'
import type { Entry, EntryOf } from '../../src/ledger/entry.ts'
import { LedgerHistory } from '../../src/ledger/history.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import {
  checkedEntry,
  forgetEntry,
  holdEndEntry,
  holdEntry,
  origin,
  profile,
  pruneEntry,
  repositoryEntry,
  snapshotEntry,
  start,
} from './support.ts'

const digits = [...'0123456789ab']
const digit = fc.constantFrom(...digits)
type Told = EntryOf<'snapshot' | 'forget' | 'prune' | 'hold' | 'hold-end' | 'checked'>

const told: fc.Arbitrary<Told> = fc.oneof(
  { weight: 4, arbitrary: digit.map(one => snapshotEntry(one)) },
  fc.uniqueArray(digit, { minLength: 1, maxLength: 4 }).map(some => forgetEntry(...some)),
  fc
    .tuple(fc.uniqueArray(fc.nat(30), { maxLength: 4 }), fc.uniqueArray(digit, { maxLength: 2 }))
    .map(([replaces, index]) => pruneEntry(replaces, index)),
  fc.tuple(digit, fc.integer({ min: 1, max: 9 })).map(([one, day]) => holdEntry(one, `2027-01-0${day}`)),
  digit.map(one => holdEndEntry(one)),
  fc.nat(30).map(entries => checkedEntry(entries)),
)

/** As a reader of the whole ledger would work it out: from all entries, for each of its answers. */
function workedOut(entries: readonly Entry[]) {
  const isOf =
    <T extends Told['type']>(type: T) =>
    (entry: Entry): entry is EntryOf<T> =>
      entry.type === type
  const of = <T extends Told['type']>(type: T) =>
    entries.flatMap((entry, at) => (isOf(type)(entry) ? [{ ...entry, entry: at }] : []))
  const first = of('snapshot').filter(
    ({ snapshotId }, at, all) => all.findIndex(one => one.snapshotId === snapshotId) === at,
  )
  const forgottenIn = (id: string) => of('forget').find(({ snapshots }) => snapshots.some(one => one === id))
  const gone = first.filter(({ snapshotId }) => forgottenIn(snapshotId) !== undefined)
  const replaced = new Set(of('prune').flatMap(({ replaces }) => replaces))
  const sets = [...first, ...of('prune')].sort((one, other) => one.entry - other.entry)
  const held = (id: string) => {
    const ends = of('hold-end').filter(({ snapshotId }) => snapshotId === id)
    const since = of('hold').filter(one => one.snapshotId === id && one.entry > (ends.at(-1)?.entry ?? 0))
    return since.length === 0 ? [] : [[id, Math.max(...since.map(({ until }) => until.getTime()))] as const]
  }
  return {
    snapshots: first.filter(one => !gone.includes(one)),
    forgotten: gone.sort(
      (one, other) =>
        (forgottenIn(one.snapshotId)?.entry ?? 0) - (forgottenIn(other.snapshotId)?.entry ?? 0) ||
        one.entry - other.entry,
    ),
    indexSets: sets
      .filter(({ entry, index }) => index.length > 0 && !replaced.has(entry))
      .map(({ entry, index, packs }) => ({ entry, index, packs })),
    holds: new Map(first.flatMap(({ snapshotId }) => held(snapshotId))),
    checks: of('checked'),
  }
}

function plain({ snapshots, forgotten, indexSets, holds, checks }: RepositoryHistory) {
  const times = new Map([...holds].map(([id, until]) => [id, until.getTime()]))
  return { snapshots, forgotten, indexSets, holds: times, checks }
}

it('is what all entries together say, after each of them, and stays what it was', () => {
  fc.assert(
    fc.property(fc.array(told, { maxLength: 30 }), candidates => {
      const history = new LedgerHistory()
      const taken: Entry[] = []
      const seen: [RepositoryHistory, ReturnType<typeof workedOut>][] = []
      for (const entry of [
        { type: 'genesis', time: start, origin } as const,
        repositoryEntry(),
        ...candidates,
      ]) {
        try {
          history.add(taken.length, entry)
        } catch {
          continue // It contradicts an earlier one, and must have changed nothing.
        }
        taken.push(entry)
        const now = history.repository(profile, 1)
        if (now !== null) seen.push([now, workedOut(taken)])
      }
      for (const [one, expected] of seen) expect(plain(one)).toEqual(expected)
    }),
  )
})

it('copies nothing while nobody asks, and nothing twice', () => {
  const history = new LedgerHistory()
  history.add(0, { type: 'genesis', time: start, origin })
  history.add(1, repositoryEntry())
  for (const one of digits) history.add(history.size, snapshotEntry(one))
  const now = history.repository(profile, 1)
  expect(now?.snapshots).toHaveLength(digits.length)
  history.add(history.size, snapshotEntry('0'))
  history.add(history.size, repositoryEntry(2))
  expect(history.repository(profile, 1)).toBe(now)
})
