import { readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { repositoryOf } from '../../src/base/names.ts'
import { parseReadChoice } from '../../src/base/read-choice.ts'
import { repositoryDirectory } from '../../src/engine/backup.ts'
import { StorageError } from '../../src/storage/errors.ts'

import { honest, makeRoom, type Room } from '../restore/support.ts'
import { type BenchOptions, run } from '../support/engine.ts'
import { TellingHost } from '../support/telling-host.ts'
import { failingAt, type PruneBench, profileWith, pruneBench, resticOn } from './prune-bench.ts'

/* What dom0 remembers of a repository, and what it says of it, does not outlive what a prune removes. */

/* Many jobs, on a machine that may have others to do. */
vi.setConfig({ testTimeout: 120_000 })

const day = 24 * 3_600_000
const keepingOne = profileWith('{ keep_last: 1 }')

async function bench(options?: BenchOptions, profileText = keepingOne): Promise<PruneBench> {
  const one = await pruneBench(profileText, options)
  return one
}

const packsOf = (one: PruneBench) =>
  [...one.storage.objects.keys()].filter(name => name.startsWith('data/')).sort()
const directoryOf = (one: PruneBench) =>
  repositoryDirectory(one.ports.directory, repositoryOf(one.profile, 1))
const journalOf = (one: PruneBench) => path.join(directoryOf(one), 'packs.journal')

/** The storage keeps for now what is of this kind. */
function keeping(one: PruneBench, kind: string): void {
  one.storage.faults.before = (operation, name) => {
    if (operation === 'remove' && name.startsWith(`${kind}/`))
      throw new StorageError('STORAGE_GRACE', 'planted')
  }
}

describe('the journal of packs', () => {
  it('brings back no pack that was rewritten, though dom0 died before it was cleared', async () => {
    const one = await bench()
    await one.backUp(512)
    const before = packsOf(one)
    await failingAt(one, 'index', () => one.backUp(2048))
    const waiting = await readFile(journalOf(one))
    const interrupted = packsOf(one).filter(name => !before.includes(name))
    // Goes on with all of them, and has use for half.
    await one.backUp(1024)
    await writeFile(journalOf(one), waiting)
    await one.restart()

    keeping(one, 'data')
    expect((await one.prune()).outcome?.prune?.packsRemoved).toBe(0)
    expect(packsOf(one)).toEqual(expect.arrayContaining(interrupted))
    const { sound, ignored } = await one.check()
    expect(sound).toBe(true)
    await failingAt(one, 'index', () => one.backUp(256))
    await run(one, { kind: 'backup' })
    expect(await one.check()).toMatchObject({ sound: true, ignored })
    one.storage.faults = {}
    await one.prune()
    expect(packsOf(one).filter(name => interrupted.includes(name))).toEqual([])
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('does not keep from the next prune what an earlier one could not remove yet', async () => {
    const one = await bench()
    await failingAt(one, 'index', () => one.backUp(2048))
    const waiting = await readFile(journalOf(one))
    const interrupted = packsOf(one)
    await one.backUp(1024)
    await writeFile(journalOf(one), waiting)
    keeping(one, 'data')
    await one.prune()
    expect(packsOf(one)).toEqual(expect.arrayContaining(interrupted))
    one.storage.faults = {}
    expect((await one.prune()).outcome?.warnings).toEqual([])
    expect(packsOf(one).filter(name => interrupted.includes(name))).toEqual([])
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })
})

describe('what dom0 remembers of a volume', () => {
  it('is not used when the snapshot that it is of was forgotten, whatever the host says is unchanged', async () => {
    const host = new TellingHost()
    const byTag = keepingOne.replace('[ work, personal ]', '[ "@tag:backup" ]')
    const one = await bench({ wrapVolumes: volumes => host.wrap(volumes) }, byTag)
    await one.backUp(1024)
    const [vm, away] = [path.join(one.machine, 'work'), path.join(one.directory, 'away')]
    await rename(vm, away)
    expect((await run(one, { kind: 'backup' })).state).toBe('done')
    expect((await one.prune()).outcome?.prune?.forgotten).toBe(1)
    await rename(away, vm)

    expect(await run(one, { kind: 'backup' })).toMatchObject({ state: 'done', error: null })
    expect(host.asked).toEqual([null, null])
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
    await using restic = await resticOn(one.storage)
    expect(await restic.run('check', '--read-data')).toContain('no errors were found')
  })

  it('is used when that snapshot stays, also of packs that were rewritten', async () => {
    const host = new TellingHost()
    const one = await bench({ wrapVolumes: volumes => host.wrap(volumes) })
    await one.backUp(2048)
    host.says = 'data'
    await one.backUp(1024)
    host.says = 'unchanged'
    expect((await one.prune()).outcome?.prune?.packsRewritten).toBeGreaterThan(0)
    const job = await run(one, { kind: 'backup' })
    expect(host.asked.at(-1)).not.toBeNull()
    expect(job.outcome?.bytesStored).toBeLessThan(10_000)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })
})

describe('the index', () => {
  it('that dom0 has copies of is the one in force, from which its table is made again when it is lost', async () => {
    const one = await bench()
    for (const kibibytes of [2048, 1024, 512]) await one.backUp(kibibytes)
    await one.prune()
    const inForce = one.history().indexSets.flatMap(({ index }) => index.map(({ id }) => id as string))
    const copies = path.join(directoryOf(one), 'index')
    expect((await readdir(copies)).sort()).toEqual(inForce.sort())
    for (const lost of ['index', 'blobs']) await rm(path.join(directoryOf(one), lost), { recursive: true })
    expect((await one.backUp(256)).outcome?.bytesStored).toBeLessThan(600_000)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })

  it('table of dom0 knows no blob that a prune has removed', async () => {
    const one = await bench()
    const image = path.join(one.machine, 'work', 'private.img')
    await one.backUp(2048)
    const old = await readFile(image)
    await one.backUp(2048)
    expect((await one.prune()).outcome?.prune?.packsRemoved).toBeGreaterThan(0)
    await writeFile(image, old)
    expect((await run(one, { kind: 'backup' })).outcome?.bytesStored).toBeGreaterThan(2_000_000)
    expect(await one.check()).toMatchObject({ sound: true, ignored: 0 })
  })
})

describe('a check after a prune', () => {
  it('finds nothing missing, and proves what the prune has left', async () => {
    let room: Room | null = null
    const examiner = {
      check: async (...args: Parameters<Room['examiner']['check']>) =>
        room?.examiner.check(...args) ?? Promise.reject(new Error('no room')),
      restore: async () => Promise.reject(new Error('no restore')),
    }
    const one = await bench({ examiner })
    room = await makeRoom(honest(one.storage))
    onTestFinished(() => room[Symbol.asyncDispose]())
    const check = () => run(one, { kind: 'check', read: parseReadChoice('30d') })
    for (const kibibytes of [2048, 1024]) await one.backUp(kibibytes)
    expect((await check()).state).toBe('done')
    await one.prune()
    one.clock.time += 29 * day
    expect(await check()).toMatchObject({ state: 'done', error: null, outcome: { warnings: [] } })

    const { changed, indexSets, snapshots, checks } = one.history()
    expect(changed).toBeGreaterThan(snapshots.at(-1)?.entry ?? 0)
    const sum = (of: 'count' | 'bytes') => indexSets.reduce((total, { packs }) => total + packs[of], 0)
    expect(checks.at(-1)).toMatchObject({
      entries: changed + 1,
      slots: 'f'.repeat(64),
      packs: { count: sum('count'), bytes: sum('bytes') },
      code: null,
    })
  })
})

describe('a scrub after a prune', () => {
  const scrubbing = async (fault: (name: string) => boolean): Promise<PruneBench> => {
    const one: PruneBench = await bench({
      scrub: async () => {
        const names = [...one.storage.objects.keys()].filter(name => name !== 'config')
        const findings = names.filter(fault).map(name => ({ name, fault: 'content' as const }))
        return { objects: names.length, bytes: 1000, damaged: findings.length, findings }
      },
    })
    for (const kibibytes of [2048, 1024]) await one.backUp(kibibytes)
    return one
  }

  it('misses nothing that was removed', async () => {
    const one = await scrubbing(() => false)
    await one.prune()
    expect((await run(one, { kind: 'scrub' })).outcome?.warnings).toEqual([
      expect.stringContaining('the storage’s own word'),
    ])
  })

  it('tells damage of what is needed from damage of what the storage keeps for now', async () => {
    const one = await scrubbing(name => /^(snapshots|index)/.test(name))
    keeping(one, 'snapshots')
    const [old, newest] = one.history().snapshots
    await one.prune()
    const { error } = await run(one, { kind: 'scrub' })
    expect(error?.message).toContain(`snapshots/${newest?.snapshot.id}, which snapshots of the ledger need`)
    for (const name of [`snapshots/${old?.snapshot.id}`, `index/${old?.index[0]?.id}`])
      expect(error?.message).toContain(`${name}, which no snapshot of the ledger needs`)
    const inForce = one.history().indexSets.flatMap(({ index }) => index)
    for (const { id } of inForce) expect(error?.message).toContain(`index/${id}, which snapshots of the`)
  })
})
