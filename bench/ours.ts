import fs from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../src/base/bytes.ts'
import { systemEnvironment } from '../src/base/environment.ts'
import { silentLog } from '../src/base/log.ts'
import { type Digest, parseDigest, parseSnapshotId, parseVmName } from '../src/base/names.ts'
import { Secret } from '../src/base/secret.ts'
import { ContentCache } from '../src/engine/content-cache.ts'
import { VolumeMemory } from '../src/engine/volume-memory.ts'
import { systemCommands } from '../src/host/commands.ts'
import { holesOf } from '../src/host/local/compare-maps.ts'
import type { Extent, FrozenVolume } from '../src/host/volumes.ts'
import { checkRepository, type Expected, type ExpectedIndex } from '../src/repository/check.ts'
import type { ObjectReference } from '../src/repository/format.ts'
import { readEverything } from '../src/repository/read-cycle.ts'
import { fetchIndexTable, listVolumes, readSnapshot } from '../src/repository/reader.ts'
import { createRepository, openRepository, type Repository } from '../src/repository/repository.ts'
import { restoreVolume } from '../src/repository/restore.ts'
import { BackupWriter, type VolumeResult } from '../src/repository/writer.ts'
import { LocalStore } from '../src/storage/local.ts'
import { objectName, parseObjectName } from '../src/storage/object-store.ts'
import type { Ranges } from './changes.ts'

/*
 * One step of a benchmark through the product's own repository and storage, in a process of its own:
 *
 *   node bench/ours.ts init|check REPOSITORY
 *   node bench/ours.ts backup REPOSITORY DIRECTORY [CHANGES]
 *   node bench/ours.ts restore REPOSITORY DIRECTORY
 *
 * A JSON file beside the repository stands in for the ledger. CHANGES, as `bench/changes.ts` finds them, stands in for a pool that
 * tells what has changed since the last backup; without it all data is
 * read.
 */

interface State {
  readonly keyFile: ObjectReference
  readonly config: ObjectReference
  readonly snapshots: readonly (ExpectedIndex & { readonly snapshot: ObjectReference })[]
}

const signal = new AbortController().signal
/** As dom0 has it. */
const putsAtOnce = 3
const vm = parseVmName('work')
const [step = '', repositoryPath = '', directory = '', changesPath] = process.argv.slice(2)
const statePath = `${repositoryPath}.ledger.json`
const store = new LocalStore(repositoryPath, systemEnvironment)

/** dom0 keeps the table from one backup to the next; here it is left behind for the next step. */
const place = { tablePath: `${repositoryPath}.blobs`, entropy: systemEnvironment.entropy }

function passphrase(): Secret {
  return Secret.take(utf8('benchmark'))
}

async function init(): Promise<void> {
  using secret = passphrase()
  using created = await createRepository(store, secret, systemEnvironment, signal)
  await save({ keyFile: reference(created.keyFile), config: reference(created.config), snapshots: [] })
}

async function backup(): Promise<void> {
  const state = await load()
  using repository = await open(state)
  await using known = await fetchIndexTable(repository, store, indexIds(state), place, signal)
  const contents = new ContentCache(`${repositoryPath}.state`, repository.key, systemEnvironment.entropy)
  const memory = new VolumeMemory(contents, () => true, silentLog)
  const writer = new BackupWriter(repository, store, known, { ...systemEnvironment, concurrency: putsAtOnce })
  const changes = changesPath === undefined ? null : await changesIn(changesPath)
  const volumes: VolumeResult[] = []
  for (const file of (await fs.readdir(directory)).sort()) {
    const volume = await volumeOf(file, changes?.[file] ?? null)
    const earlier = await memory.earlier(vm, volume)
    const result = await writer.addVolume(volume, () => {}, signal, earlier)
    memory.found(vm, volume, result, earlier)
    volumes.push(result)
  }
  const vms = [{ name: vm, volumes }]
  const result = await writer.finish({ vms, time: systemEnvironment.clock.now(), tags: [] }, signal)
  const snapshot = {
    snapshot: reference(result.snapshot),
    index: result.index.map(reference),
    packs: result.packsSummary,
  }
  await save({ ...state, snapshots: [...state.snapshots, snapshot] })
  await memory.commit(parseSnapshotId(result.snapshot.id))
}

async function check(): Promise<void> {
  const { keyFile, config, snapshots } = await load()
  using repository = await open({ keyFile, config, snapshots })
  const expected: Expected = { pinned: { keyFile, config }, snapshots, indexSets: snapshots }
  const report = await checkRepository(
    repository,
    store,
    expected,
    { reading: readEverything, ...place },
    () => {},
    signal,
  )
  if (!report.sound) throw new Error(`the repository is not sound: ${JSON.stringify(report)}`)
}

/** The newest snapshot, into sparse files. */
async function restore(): Promise<void> {
  const state = await load()
  using repository = await open(state)
  await using table = await fetchIndexTable(repository, store, indexIds(state), place, signal)
  const source = { repository, store, blobs: table.reader }
  const newest = state.snapshots.at(-1)
  if (newest === undefined) throw new Error('there is nothing to restore')
  const snapshot = await readSnapshot(repository, store, newest.snapshot.id, signal)
  for (const volume of (await listVolumes(source, snapshot, signal)).volumes) {
    const target = path.join(directory, `${volume.name}.img`)
    await using handle = await fs.open(target, 'wx')
    await handle.truncate(volume.bytes)
    await restoreVolume(source, volume, { path: target }, () => {}, signal)
  }
}

async function open({ keyFile, config }: State): Promise<Repository> {
  using secret = passphrase()
  const bytes = async (name: ReturnType<typeof parseObjectName>) =>
    (await store.get(name, 'whole', signal)).parse(body => body)
  return await openRepository({
    passphrase: secret,
    keyFile: await bytes(objectName('keys', keyFile.id)),
    config: await bytes(parseObjectName('config')),
    pinned: { keyFile: keyFile.id, config: config.id },
  })
}

async function volumeOf(file: string, changes: Ranges | null): Promise<FrozenVolume> {
  const at = path.join(directory, file)
  const { size } = await fs.stat(at)
  return {
    name: path.basename(file, '.img'),
    bytes: size,
    path: at,
    state: { source: 'bench', mark: directory },
    async *extents(since) {
      if (since === null || changes === null) yield* await holesIn(at)
      else yield* extentsOf(changes, size)
    },
  }
}

/** As dom0 asks on the local host: all data is read, holes are not. */
async function holesIn(file: string): Promise<readonly Extent[]> {
  await using handle = await fs.open(file)
  const { size, blocks } = await handle.stat()
  return await holesOf(systemCommands, { fd: handle.fd, bytes: size, blocks }, signal)
}

function* extentsOf(changes: Ranges, size: number): Generator<Extent> {
  let at = 0
  for (const [offset, length] of changes) {
    if (offset > at) yield { kind: 'unchanged', offset: at, length: offset - at }
    yield { kind: 'data', offset, length }
    at = offset + length
  }
  if (at < size) yield { kind: 'unchanged', offset: at, length: size - at }
}

async function changesIn(file: string): Promise<Readonly<Record<string, Ranges>>> {
  return JSON.parse(await fs.readFile(file, 'utf8'))
}

function indexIds(state: State): readonly Digest[] {
  return state.snapshots.flatMap(({ index }) => index.map(({ id }) => parseDigest(id)))
}

function reference({ id, bytes }: ObjectReference): ObjectReference {
  return { id: parseDigest(id), bytes }
}

async function load(): Promise<State> {
  return JSON.parse(await fs.readFile(statePath, 'utf8')) as State
}

async function save(state: State): Promise<void> {
  await fs.writeFile(statePath, JSON.stringify(state))
}

const steps: Readonly<Record<string, () => Promise<void>>> = { init, backup, check, restore }
const run = steps[step]
if (run === undefined) throw new Error(`unknown step '${step}'`)
await run()
