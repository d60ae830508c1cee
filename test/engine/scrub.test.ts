import { describe, expect, it } from 'vitest'
import { StorageError } from '../../src/storage/errors.ts'
import { objectName } from '../../src/storage/object-store.ts'
import type { ScrubReport } from '../../src/storage/scrub-lines.ts'
import { type EngineBench, run, testBench } from '../support/engine.ts'

const right: ScrubReport = { objects: 6, bytes: 9000, damaged: 0, findings: [] }

/** The scrub of a repository with one snapshot, of which the storage says this. */
async function scrubbed(said: (one: EngineBench) => ScrubReport, told = { bytesDone: 100, bytesTotal: 200 }) {
  const asked: string[] = []
  const one: EngineBench = await testBench({
    scrub: async (vm, repository, onProgress) => {
      asked.push(`${vm} ${repository}`)
      onProgress({ objectsDone: 1, objectsTotal: 2, ...told })
      return said(one)
    },
  })
  await run(one)
  const job = await run(one, { kind: 'scrub' })
  return { one, asked, job }
}

describe('a scrub', () => {
  it('takes no passphrase, and says whose word it is', async () => {
    const { one, asked, job } = await scrubbed(() => right)
    expect(asked).toEqual(['store nightly.e1'])
    expect(job).toMatchObject({
      kind: 'scrub',
      state: 'done',
      outcome: {
        objects: 6,
        bytes: 9000,
        warnings: ['this is the storage’s own word; a check that reads the data proves it'],
      },
    })
    expect(one.released).toHaveLength(1)
    expect(one.ledger.repository(one.profile, 1)?.checks).toEqual([])
  })

  it.each([0, 200])('ends with all that it read, however little of it was told before', async bytesTotal => {
    for (const damaged of [0, 1]) {
      const findings = [{ name: objectName('data', '12'.repeat(32)), fault: 'content' as const }]
      const report = damaged === 0 ? right : { ...right, damaged, findings }
      const { job } = await scrubbed(() => report, { bytesDone: 0, bytesTotal })
      expect(job.state).toBe(damaged === 0 ? 'done' : 'failed')
      expect(job.progress).toMatchObject({ phase: 'ended', bytesDone: right.bytes, bytesTotal: right.bytes })
    }
  })

  it('that finds damage is an alarm, which compares the names with the ledger', async () => {
    const named = (one: EngineBench) => {
      const [snapshot] = one.ledger.repository(one.profile, 1)?.snapshots ?? []
      if (snapshot === undefined) throw new Error('no snapshot')
      return snapshot
    }
    const pack = objectName('data', '12'.repeat(32))
    const stray = objectName('index', '34'.repeat(32))
    const { one, job } = await scrubbed(bench => ({
      ...right,
      damaged: 4,
      findings: [
        { name: pack, fault: 'content' },
        { name: objectName('index', named(bench).index[0]?.id ?? ''), fault: 'unreadable' },
        { name: stray, fault: 'content' },
        { name: objectName('snapshots', named(bench).snapshot.id), fault: 'content' },
      ],
    }))
    expect(job).toMatchObject({ state: 'failed', error: { code: 'SCRUB_DAMAGED', kind: 'integrity' } })
    expect(job.error?.message).toBe(
      [
        `the storage reports 4 damaged objects: ${pack}, a pack`,
        `index/${named(one).index[0]?.id}, which snapshots of the ledger need`,
        `${stray}, which no snapshot of the ledger needs`,
        `snapshots/${named(one).snapshot.id}, which snapshots of the ledger need`,
      ].join('; '),
    )
  })

  it('that finds very much names the first', async () => {
    const findings = Array.from({ length: 100 }, (_, index) => ({
      name: objectName('data', index.toString(16).padStart(64, '0')),
      fault: 'content' as const,
    }))
    const { job } = await scrubbed(() => ({ ...right, damaged: 5000, findings }))
    expect(job.error?.message).toMatch(/and 4990 more: the log of dom0 names the first 100$/)
    expect(job.error?.message.length).toBeLessThan(1500)
  })

  it('of a storage that has less than the ledger names says so', async () => {
    const { job } = await scrubbed(() => ({ ...right, objects: 1 }))
    expect(job.outcome?.warnings.at(-1)).toBe('the storage has 1 objects; the ledger names at least 2')
  })

  it('that breaks off has failed, and nothing more', async () => {
    const { job } = await scrubbed(() => {
      throw new StorageError('STORAGE_UNAVAILABLE', 'the storage said nothing')
    })
    expect(job).toMatchObject({ state: 'failed', error: { code: 'STORAGE_UNAVAILABLE' } })
  })

  it('of a profile without a repository is refused', async () => {
    const one = await testBench({ scrub: async () => right })
    expect(await run(one, { kind: 'scrub' })).toMatchObject({
      state: 'failed',
      error: { code: 'REPOSITORY_UNKNOWN' },
    })
  })
})
