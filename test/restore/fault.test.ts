import { describe, expect, it } from 'vitest'
import { parseDigest } from '../../src/base/names.ts'
import { slotSetOf } from '../../src/base/slots.ts'
import type { CheckReport } from '../../src/repository/check-report.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { faultOf } from '../../src/restore/inside/fault.ts'

const object = (digit: string) => ({ id: parseDigest(digit.repeat(64)), bytes: 100 })
const packs = { count: 1, bytes: 100, root: parseDigest('f'.repeat(64)) }
const snapshot = (entry: number, digit: string) => ({
  entry,
  snapshot: object(digit),
  manifest: parseDigest('e'.repeat(64)),
})
const indexSet = (entry: number, ...digits: string[]) => ({ entry, index: digits.map(object), packs })

/** Snapshots 2 and 4 of which 2 has lost its own index to a prune at 6, and a snapshot that came after it. */
const pruned = {
  snapshots: [snapshot(2, '2'), snapshot(4, '4'), snapshot(8, '8')],
  indexSets: [indexSet(4, 'a'), indexSet(6, 'b', 'c'), indexSet(8, 'd')],
}

function fault(snapshots: readonly string[], index: readonly string[], expected = pruned) {
  const ids = (digits: readonly string[]) => digits.map(digit => digit.repeat(64))
  const sound = snapshots.length + index.length === 0
  const report: CheckReport = {
    sound,
    errors: [],
    errorCount: 0,
    missingPinned: [],
    missingSnapshots: ids(snapshots),
    missingIndex: ids(index),
    missingPacks: [],
    objects: 0,
    ignored: 0,
    blobs: 0,
    proven: { slots: slotSetOf([]), packs: summarisePacks([]) },
  }
  return faultOf(expected, report)?.code ?? null
}

describe('what is missing from storage', () => {
  it.each<[string, string[], string[], string | null]>([
    ['nothing', [], [], null],
    ['the newest snapshot and its index', ['8'], ['d'], 'STORAGE_ROLLED_BACK'],
    ['all since before the prune', ['8'], ['b', 'c', 'd'], 'STORAGE_ROLLED_BACK'],
    ['all but the oldest snapshot', ['4', '8'], ['a', 'b', 'c', 'd'], 'STORAGE_ROLLED_BACK'],
    ['the newest snapshot', ['8'], [], 'SNAPSHOT_DELETED'],
    ['an old snapshot', ['2'], [], 'SNAPSHOT_DELETED'],
    ['an old snapshot and the newest with its index', ['2', '8'], ['d'], 'SNAPSHOT_DELETED'],
    ['everything', ['2', '4', '8'], ['a', 'b', 'c', 'd'], 'SNAPSHOT_DELETED'],
    ['what the prune made', [], ['b', 'c'], 'CHECK_FAILED'],
    ['half of what the prune made', [], ['b'], 'CHECK_FAILED'],
    ['the newest index', [], ['d'], 'CHECK_FAILED'],
  ])('%s', (_, snapshots, index, code) => {
    expect(fault(snapshots, index)).toBe(code)
  })

  it('the end of a prune that was the last', () => {
    const last = {
      ...pruned,
      snapshots: pruned.snapshots.slice(0, 2),
      indexSets: pruned.indexSets.slice(0, 2),
    }
    expect(fault([], ['b', 'c'], last)).toBe('STORAGE_ROLLED_BACK')
  })
})
