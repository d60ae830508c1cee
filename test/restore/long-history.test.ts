import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { parseDigest, parseSnapshotId } from '../../src/base/names.ts'
import { wholeSnapshot } from '../../src/base/restore-choice.ts'
import type { RepositoryHistory } from '../../src/ledger/repository-history.ts'
import { summarisePacks } from '../../src/repository/packs-root.ts'
import { readNothing } from '../../src/repository/read-cycle.ts'
import { recordedMax } from '../../src/restore/protocol.ts'
import { type EngineBench, makeBench } from '../support/engine.ts'
import { backUp, cleanedUp, examinationOf, honest, makeRoom, never, silent } from './support.ts'

let bench: EngineBench
beforeAll(async () => {
  bench = await makeBench()
  await backUp(bench)
})
afterAll(() => bench[Symbol.asyncDispose]())

/** A history of so many backups, of which the storage has only the last. */
function longExamination(count: number) {
  const examination = examinationOf(bench)
  const { snapshots, indexSets } = examination.history
  const [snapshot, set] = [snapshots[0], indexSets[0]]
  if (snapshot === undefined || set === undefined) throw new Error('nothing was backed up')
  const earlier = Array.from({ length: count - 1 }, (_, at) => at.toString(16).padStart(64, '0'))
  const history: RepositoryHistory = {
    ...examination.history,
    snapshots: [
      ...earlier.map(id => ({
        ...snapshot,
        snapshot: { id: parseDigest(id), bytes: 300 },
        snapshotId: parseSnapshotId(id),
      })),
      snapshot,
    ],
    // In force twice is in force: the storage has only one.
    indexSets: [...earlier.map(() => ({ ...set, packs: summarisePacks([]) })), set],
  }
  return { examination: { ...examination, history }, newest: snapshot.snapshotId }
}

/** Ten years of a backup an hour are 87 660. */
describe('a repository of which nothing was ever forgotten', () => {
  it('is restored, and checked to the last snapshot', { timeout: 120_000 }, async () => {
    expect(recordedMax).toBeGreaterThan(10 * 366 * 24)
    await using room = await makeRoom(honest(bench.storage))
    const { examination, newest } = longExamination(recordedMax)
    await room.examiner.restore(examination, newest, wholeSnapshot, silent, never)
    const image = await readFile(path.join(room.target, 'work', 'private.img'))
    expect(image.equals(await readFile(path.join(bench.machine, 'work', 'private.img')))).toBe(true)
    const { fault } = await room.examiner.check(examination, readNothing, silent, never)
    expect(fault?.code).toBe('SNAPSHOT_DELETED')
    expect(room.events).toEqual([...cleanedUp, ...cleanedUp])
  })

  it('is refused beyond the documented bound before a sandbox is started, in words', async () => {
    await using room = await makeRoom(honest(bench.storage))
    const { examination, newest } = longExamination(recordedMax + 1)
    const tooLong = { code: 'HISTORY_TOO_LONG' }
    await expect(
      room.examiner.restore(examination, newest, wholeSnapshot, silent, never),
    ).rejects.toMatchObject(tooLong)
    await expect(room.examiner.check(examination, readNothing, silent, never)).rejects.toMatchObject(tooLong)
    expect(room.events).toEqual([])
  })
})
