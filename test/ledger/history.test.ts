import { describe, expect, it } from 'vitest'
import { parseDigest, parseProfileName } from '../../src/base/names.ts'
import {
  type Entry,
  encodeEntry,
  forgottenPerEntryMax,
  indexPerPruneMax,
  parseEntry,
  replacedPerEntryMax,
} from '../../src/ledger/entry.ts'
import { LedgerHistory, readHistory } from '../../src/ledger/history.ts'
import { wasRecorded } from '../../src/ledger/repository-history.ts'
import {
  checkedEntry,
  codeOf,
  forgetEntry,
  holdEndEntry,
  holdEntry,
  job,
  origin,
  profile,
  pruneEntry,
  repositoryEntry,
  snapshotEntry,
  start,
} from './support.ts'

const genesis: Entry = { type: 'genesis', time: start, origin }
const configuration: Entry = {
  type: 'configuration',
  time: start,
  version: 3,
  digest: parseDigest('f'.repeat(64)),
}
const order = (minutes: number, kind: 'backup' | 'check' = 'backup'): Entry => ({
  type: 'order',
  time: new Date(start.getTime() + minutes * 60_000),
  job,
  profile,
  kind,
  initiator: 'mgmt' as never,
  configuration: parseDigest('f'.repeat(64)),
})
const release: Entry = { type: 'release', time: start, job, profile, purpose: 'backup', request: 4 }

async function* numbered(entries: readonly Entry[], first = 0) {
  for (const [at, entry] of entries.entries()) yield { index: first + at, entry }
}
const read = (...entries: Entry[]) => readHistory(numbered([genesis, ...entries]))

describe('the history of a ledger', () => {
  it('tells the repositories of a profile and what belongs into them', async () => {
    const history = await read(
      repositoryEntry(1),
      snapshotEntry('1'),
      repositoryEntry(2),
      snapshotEntry('2', 2),
      snapshotEntry('3'),
    )
    const first = history.repository(profile, 1)
    expect(first).toMatchObject({ entry: 1, repository: 'daily-1', keyFile: repositoryEntry().keyFile })
    expect(first?.snapshots.map(({ entry, snapshot }) => [entry, snapshot.id[0]])).toEqual([
      [2, '1'],
      [5, '3'],
    ])
    expect(history.repositories(profile).map(({ epoch, snapshots }) => [epoch, snapshots.length])).toEqual([
      [1, 2],
      [2, 1],
    ])
    expect(history.repository(profile, 3)).toBeNull()
    expect(history.repository(parseProfileName('other'), 1)).toBeNull()
  })

  it('tells orders, releases and the configuration in force', async () => {
    const history = await read(configuration, order(0), order(5, 'check'), release)
    expect(history.orders(profile).map(({ entry, kind }) => [entry, kind])).toEqual([
      [2, 'backup'],
      [3, 'check'],
    ])
    expect(history.releases(profile)).toMatchObject([{ entry: 4, purpose: 'backup', request: 4 }])
    expect(history.configuration).toMatchObject({ entry: 1, version: 3 })
    expect([history.size, (await read()).orders(profile)]).toEqual([5, []])
  })

  it('tells what checks have proven of a repository', async () => {
    const history = await read(
      repositoryEntry(1),
      snapshotEntry('1'),
      checkedEntry(3),
      repositoryEntry(2),
      checkedEntry(5, { epoch: 2, repository: repositoryEntry(2).repository }),
      checkedEntry(3, { code: 'SNAPSHOT_DELETED' }),
    )
    const first = history.repository(profile, 1)
    expect(first).toMatchObject({
      time: start,
      checks: [{ entry: 3 }, { entry: 6, code: 'SNAPSHOT_DELETED' }],
    })
    expect(history.repository(profile, 2)?.checks).toMatchObject([{ entry: 5, entries: 5 }])
  })

  it('goes on from where it was', async () => {
    const history = await read(repositoryEntry())
    await readHistory(numbered([snapshotEntry('1')], 2), history)
    expect(history.repository(profile, 1)?.snapshots).toHaveLength(1)
    expect(await codeOf(() => readHistory(numbered([snapshotEntry('2')], 4), history))).toBe('LEDGER_RANGE')
  })

  it('takes a snapshot or repository that was appended twice for one', async () => {
    const history = await read(repositoryEntry(), repositoryEntry(), snapshotEntry('1'), snapshotEntry('1'))
    expect(history.repository(profile, 1)?.snapshots.map(({ entry }) => entry)).toEqual([3])
  })

  it.each<[string, Entry[]]>([
    [
      'another key file for the same repository',
      [repositoryEntry(), { ...repositoryEntry(), keyFile: repositoryEntry().config }],
    ],
    [
      'another config for the same repository',
      [repositoryEntry(), { ...repositoryEntry(), config: repositoryEntry().keyFile }],
    ],
    ['a snapshot without repository', [snapshotEntry('1')]],
    ['a snapshot of another epoch', [repositoryEntry(1), snapshotEntry('1', 2)]],
    ['a second genesis', [genesis]],
    ['a check without repository', [checkedEntry(1)]],
    ['a check of another epoch', [repositoryEntry(1), checkedEntry(2, { epoch: 2 })]],
    [
      'a check of another repository',
      [repositoryEntry(1), checkedEntry(2, { repository: 'daily-7' as never })],
    ],
    ['a check of entries that come after it', [repositoryEntry(1), checkedEntry(3)]],
    ['forgetting what was never there', [repositoryEntry(), snapshotEntry('1'), forgetEntry('1', '2')]],
    ['holding what was never there', [repositoryEntry(), holdEntry('1', '2027-01-01T00:00:00Z')]],
    ['a prune in place of what is no index', [repositoryEntry(), snapshotEntry('1'), pruneEntry([1], [])]],
    ['a prune without repository', [pruneEntry([], ['3'])]],
  ])('refuses %s', async (_, entries) => {
    expect(await codeOf(() => read(...entries))).toBe('LEDGER_ENTRY_INVALID')
  })

  it('tells which snapshots are left, and which index is in force', async () => {
    const history = await read(
      repositoryEntry(),
      snapshotEntry('1'),
      snapshotEntry('2'),
      snapshotEntry('3'),
      forgetEntry('1', '3'),
      pruneEntry([2, 3], ['7', '8']),
      snapshotEntry('4'),
    )
    const repository = history.repository(profile, 1)
    const digits = (list: readonly { snapshot: { id: string } }[] = []) => list.map(one => one.snapshot.id[0])
    expect(digits(repository?.snapshots)).toEqual(['2', '4'])
    expect(digits(repository?.forgotten)).toEqual(['1', '3'])
    const index = repository?.indexSets.map(one => [one.entry, one.index.map(({ id }) => id[0])])
    expect(index).toEqual([
      [4, ['d']],
      [6, ['7', '8']],
      [7, ['d']],
    ])
    const known = (digit: string) => wasRecorded(repository ?? null, snapshotEntry(digit).snapshotId)
    expect(['1', '2', '3', '4', '5'].map(known)).toEqual([true, true, true, true, false])
  })

  it('takes a forgotten snapshot that is recorded again for forgotten, and an index that is replaced twice for gone', async () => {
    const history = await read(
      repositoryEntry(),
      snapshotEntry('1'),
      forgetEntry('1'),
      pruneEntry([2], []),
      snapshotEntry('1'),
      forgetEntry('1'),
      pruneEntry([2], ['7']),
    )
    const repository = history.repository(profile, 1)
    expect([repository?.snapshots.length, repository?.forgotten.length]).toEqual([0, 1])
    expect(repository?.indexSets.map(({ entry }) => entry)).toEqual([7])
  })

  it('keeps what was handed out as it was', async () => {
    const history = await read(repositoryEntry(), snapshotEntry('1'), snapshotEntry('2'))
    const { snapshots, indexSets } = history.repository(profile, 1) ?? {}
    await readHistory(numbered([forgetEntry('1'), pruneEntry([2], []), snapshotEntry('3')], 4), history)
    expect([snapshots?.length, indexSets?.length]).toEqual([2, 2])
  })

  it('tells the longest of the holds of a snapshot, until one ends them', async () => {
    const entries = [
      repositoryEntry(),
      snapshotEntry('1'),
      snapshotEntry('2'),
      holdEntry('1', '2027-03-01T00:00:00Z'),
      holdEntry('1', '2027-02-01T00:00:00Z'),
      holdEntry('2', '2027-01-01T00:00:00Z'),
    ]
    const holds = async (...more: Entry[]) => {
      const repository = (await read(...entries, ...more)).repository(profile, 1)
      return [...(repository?.holds.entries() ?? [])].map(([id, until]) => [id[0], until.toISOString()])
    }
    const second = ['2', '2027-01-01T00:00:00.000Z']
    expect(await holds()).toEqual([['1', '2027-03-01T00:00:00.000Z'], second])
    expect(await holds(holdEndEntry('1'))).toEqual([second])
  })

  it('refuses a ledger that does not begin with its genesis, and is then as before', async () => {
    const history = new LedgerHistory()
    expect(await codeOf(() => history.add(0, order(0)))).toBe('LEDGER_ENTRY_INVALID')
    history.add(0, genesis)
    expect(await codeOf(() => history.add(1, snapshotEntry('1')))).toBe('LEDGER_ENTRY_INVALID')
    expect(history.size).toBe(1)
  })
})

it('what one entry of a list may hold fits into an entry', () => {
  const many = (count: number) => Array.from({ length: count }, () => 'a')
  const far = 9_999_999
  const forget = forgetEntry(...many(forgottenPerEntryMax))
  const prune = {
    ...pruneEntry(
      Array.from({ length: replacedPerEntryMax }, () => far),
      many(indexPerPruneMax),
    ),
    index: many(indexPerPruneMax).map(() => ({ id: parseDigest('a'.repeat(64)), bytes: 99_999_999 })),
  }
  for (const entry of [forget, prune]) expect(parseEntry(encodeEntry(entry))).toEqual(entry)
})
