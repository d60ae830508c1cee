import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import * as files from '../../src/base/files.ts'
import {
  parseDigest,
  parseJobId,
  parseProfileName,
  parseSnapshotId,
  repositoryOf,
} from '../../src/base/names.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { type CommitLedger, CommitLog, type Intention } from '../../src/engine/commit.ts'
import { encodeEntry } from '../../src/ledger/entry.ts'
import { MemoryStore } from '../support/memory-store.ts'

vi.mock('../../src/base/files.ts', { spy: true })

const never = new AbortController().signal
const profile = parseProfileName('nightly')

function intentionOf(job: string): Intention {
  const body = utf8(`the snapshot of ${job}`)
  const id = sha256Hex(body)
  const object = { id: parseDigest(id), bytes: body.byteLength }
  return {
    body,
    entry: {
      type: 'snapshot',
      time: new Date(0),
      job: parseJobId(job),
      profile,
      repository: repositoryOf(profile, 1),
      epoch: 1,
      snapshot: object,
      snapshotId: parseSnapshotId(id),
      manifest: object.id,
      index: [object],
      packs: { count: 1, bytes: 1, root: object.id },
      volumes: 1,
      bytes: 1,
      bytesStored: 1,
    },
  }
}
const first = intentionOf('20261124T031500Z-00000001')
const second = intentionOf('20261125T031500Z-00000002')

/** A ledger in an array, which may lose its answer or never get the entry. */
class ArrayLedger implements CommitLedger {
  readonly entries: string[] = []
  fail: 'before' | 'after' | null = null

  hasSnapshot({ snapshotId }: Intention['entry']): boolean {
    return this.entries.includes(snapshotId)
  }
  async append(entries: readonly Intention['entry'][]): Promise<void> {
    if (this.fail === 'before') throw new Error('planted')
    for (const entry of entries) this.entries.push(entry.snapshotId)
    if (this.fail === 'after') throw new Error('planted')
  }
}

let directory: string
let store: MemoryStore
let ledger: ArrayLedger
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'commit-'))
  store = new MemoryStore()
  ledger = new ArrayLedger()
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(directory, { recursive: true })
})

const complete = () => new CommitLog(directory).complete(store, ledger, never)
const once = ({ entry }: Intention) => ({
  stored: [`snapshots/${entry.snapshot.id}`],
  recorded: [entry.snapshotId],
})
const state = () => ({ stored: [...store.objects.keys()], recorded: ledger.entries })

describe('a commit', () => {
  it('whose entry could not be read again is not begun, and stops no later one', async () => {
    const index = Array.from({ length: 501 }, () => first.entry.snapshot)
    const large = { ...first, entry: { ...first.entry, index } }
    await expect(new CommitLog(directory).begin(large)).rejects.toMatchObject({ code: 'SNAPSHOT_LIMIT' })
    expect(await readdir(directory)).toEqual([])
    await new CommitLog(directory).begin(second)
    await complete()
    expect(state()).toEqual(once(second))
  })

  it('stores the snapshot, then records it, then forgets the intention', async () => {
    await new CommitLog(directory).begin(first)
    const hasSnapshot = vi.spyOn(ledger, 'append').mockImplementationOnce(async ([entry]) => {
      expect(store.journal).toEqual(once(first).stored)
      ledger.entries.push(entry?.snapshotId ?? '')
    })
    await complete()
    expect(hasSnapshot).toHaveBeenCalledOnce()
    expect(state()).toEqual(once(first))
    expect(await readdir(directory)).toEqual([])
  })

  it('of nothing is nothing, even without a directory', async () => {
    await complete()
    await new CommitLog(path.join(directory, 'none')).complete(store, ledger, never)
    expect(state()).toEqual({ stored: [], recorded: [] })
  })

  it('completes several in their order', async () => {
    const log = new CommitLog(directory)
    await log.begin(second)
    await log.begin(first)
    await complete()
    expect(ledger.entries).toEqual([first.entry.snapshotId, second.entry.snapshotId])
  })
})

const refuse = () => {
  throw new Error('planted')
}
const faults: Record<string, () => () => void> = {
  'storage refuses the snapshot': () => {
    store.faults.before = refuse
    return () => delete store.faults.before
  },
  'the answer of storage is lost': () => {
    store.faults.afterPut = refuse
    return () => delete store.faults.afterPut
  },
  'the ledger refuses the entry': () => {
    ledger.fail = 'before'
    return () => {
      ledger.fail = null
    }
  },
  'the answer of the ledger is lost': () => {
    ledger.fail = 'after'
    return () => {
      ledger.fail = null
    }
  },
  'the directory does not sync': () => {
    const spy = vi.mocked(files.syncDirectory).mockRejectedValueOnce(new Error('planted'))
    return () => spy.mockRestore()
  },
}

describe('a commit that is interrupted because', () => {
  it.each(Object.keys(faults))('%s is completed by the next, once', async name => {
    await new CommitLog(directory).begin(first)
    const repair = faults[name]?.()
    await expect(complete()).rejects.toThrow('planted')
    repair?.()
    await complete()
    await complete()
    expect(state()).toEqual(once(first))
    expect(await readdir(directory)).toEqual([])
  })

  it('its intention was not written leaves nothing', async () => {
    vi.mocked(files.writeDurably).mockRejectedValueOnce(new Error('planted'))
    await expect(new CommitLog(directory).begin(first)).rejects.toThrow('planted')
    await complete()
    expect(state()).toEqual({ stored: [], recorded: [] })
  })

  it('of a crash while the intention was being written leaves nothing', async () => {
    await writeFile(path.join(directory, `commit-${first.entry.job}.json.new`), '{"entry":"')
    await complete()
    expect(state()).toEqual({ stored: [], recorded: [] })
  })

  it('an abort keeps it', async () => {
    await new CommitLog(directory).begin(first)
    const stop = AbortSignal.abort(new Error('stopped'))
    await expect(new CommitLog(directory).complete(store, ledger, stop)).rejects.toThrow('stopped')
    await complete()
    expect(state()).toEqual(once(first))
  })
})

describe('two who complete at once', () => {
  it('never lose an intention that came meanwhile', async () => {
    const log = new CommitLog(directory)
    await log.begin(first)
    const stalled = Promise.withResolvers<void>()
    let stall = true
    store.faults.before = async () => {
      if (stall) {
        stall = false
        await stalled.promise
      }
    }
    const slow = complete()
    await vi.waitFor(() => expect(store.calls.put).toBe(1))
    await complete()
    await log.begin(second)
    stalled.resolve()
    await slow
    await complete()
    expect(ledger.entries).toEqual([first.entry.snapshotId, second.entry.snapshotId])
  })
})

it.each([
  '',
  '{',
  '{"entry":"AAAA","body":""}',
  `{"entry":"${Buffer.from(encodeEntry({ type: 'genesis', time: new Date(0), origin: 'x' })).toString('base64')}","body":""}`,
])('a record that does not read is an alarm, and is kept: %#', async text => {
  await writeFile(path.join(directory, 'commit-20261124T031500Z-00000001.json'), text)
  await expect(complete()).rejects.toMatchObject({ code: 'STATE_DAMAGED', kind: 'integrity' })
  expect(await readdir(directory)).toHaveLength(1)
})
