import { type BigIntStats, constants } from 'node:fs'
import { type FileHandle, open, stat, statfs } from 'node:fs/promises'
import { utf8 } from '../../base/bytes.ts'
import type { Clock } from '../../base/environment.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import type { Log } from '../../base/log.ts'
import type { VmName } from '../../base/names.ts'
import type { Commands } from '../commands.ts'
import { HostError } from '../errors.ts'
import { allData } from '../extent-list.ts'
import type { FrozenPart } from '../frozen-vm.ts'
import type { Extent, FrozenVolume, VolumeState } from '../volumes.ts'
import { changesBetween, holesOf } from './compare-maps.ts'
import type { OpenFile } from './file-map.ts'
import { knownFileSystems } from './file-systems.ts'
import { fingerprintOf, identityOf } from './fingerprint.ts'
import { parseCopyMark, type SharedCopies, type SharedCopy } from './shared-copies.ts'
import type { VolumeFile } from './vm-file.ts'

export interface FreezeContext {
  readonly copies: SharedCopies
  readonly commands: Commands
  readonly clock: Clock
  /** Of the running kernel; `null` if unknown. */
  readonly boot: string | null
  readonly log: Log
}

const markBytesMax = 4096
const parseMark = fields('mark', {
  fingerprint: is.nullable(is.string(300)),
  copy: is.nullable(parseCopyMark),
})
type Mark = ReturnType<typeof parseMark>

/** A plain file at one moment: a copy that shares its blocks, or itself as long as it stays the same. */
export async function freezeFile(
  context: FreezeContext,
  vm: VmName,
  { name, path: source }: VolumeFile,
): Promise<FrozenPart> {
  const what = `volume ${name} of ${vm}`
  const original = await open(source, constants.O_RDONLY | constants.O_NOFOLLOW).catch(cause => {
    throw new HostError('VOLUME_MISSING', `${what} cannot be opened`, { cause })
  })
  let copy: SharedCopy | null = null
  try {
    const synced = await sync(original, what, context.log)
    const before = await original.stat({ bigint: true })
    const now = context.clock.now()
    copy = await context.copies.make(original, vm, name)
    const after = copy === null ? before : await original.stat({ bigint: true })
    const fileSystem = (await statfs(`/proc/self/fd/${original.fd}`, { bigint: true })).type
    const fingerprint =
      synced && identityOf(before) === identityOf(after)
        ? fingerprintOf(before, { fileSystem, now, boot: context.boot })
        : null
    const mark: Mark = { fingerprint, copy: copy?.mark ?? null }
    if (copy !== null) await original.close()
    const mapped = synced && knownFileSystems.has(fileSystem)
    return frozenFile(context, { vm, name, source, original, before, copy, mark, mapped })
  } catch (error) {
    await original.close()
    await copy?.handle.close()
    if (copy !== null) await context.copies.drop(vm, name, copy.mark)
    throw error
  }
}

interface Frozen {
  readonly vm: VmName
  readonly name: string
  readonly source: string
  /** Closed when there is a copy. */
  readonly original: FileHandle
  readonly before: BigIntStats
  readonly copy: SharedCopy | null
  readonly mark: Mark
  /** Can it be found out what it holds? */
  readonly mapped: boolean
}

function frozenFile(context: FreezeContext, frozen: Frozen): FrozenPart {
  const { vm, name, source, before, copy } = frozen
  const handle = copy?.handle ?? frozen.original
  let ours = copy
  return {
    volume: frozenVolume(context, frozen, handle),
    async verify() {
      if (copy !== null) return
      // By handle and by path: a file put in the place of the one that was read is a change too.
      for (const now of [
        await handle.stat({ bigint: true }),
        await stat(source, { bigint: true }).catch(() => null),
      ])
        if (now === null || identityOf(now) !== identityOf(before))
          throw new HostError('VOLUME_CHANGED', `volume ${name} of ${vm} changed while it was being read`)
    },
    take() {
      const taken = ours
      ours = null
      return taken === null
        ? null
        : {
            commit: () => context.copies.keep(vm, name, taken.mark),
            drop: () => context.copies.drop(vm, name, taken.mark),
          }
    },
    async release() {
      await handle.close()
      if (ours !== null) await context.copies.drop(vm, name, ours.mark)
    },
  }
}

function frozenVolume(context: FreezeContext, frozen: Frozen, handle: FileHandle): FrozenVolume {
  const { vm, name, source, before, copy, mark } = frozen
  const bytes = copy?.mark.bytes ?? Number(before.size)
  const origin = `file ${vm}/${name}`
  return {
    name,
    bytes,
    path: copy?.path ?? source,
    state:
      mark.fingerprint === null && mark.copy === null ? null : { source: origin, mark: JSON.stringify(mark) },
    async *extents(since, signal) {
      signal.throwIfAborted()
      if (bytes === 0) return
      const earlier = since?.source === origin ? readMark(since) : null
      try {
        yield* await extentsOf(context, frozen, { handle, bytes, earlier }, signal)
      } catch (error) {
        signal.throwIfAborted()
        context.log.warn('a volume is read in full: what it holds could not be found out', {
          vm,
          volume: name,
          error,
        })
        yield* allData(bytes)
      }
    },
  }
}

/** All at once, before the first is believed. Throws whatever went wrong in finding out. */
async function extentsOf(
  { copies, commands }: FreezeContext,
  { vm, name, copy, mark, mapped }: Frozen,
  { handle, bytes, earlier }: { handle: FileHandle; bytes: number; earlier: Mark | null },
  signal: AbortSignal,
): Promise<readonly Extent[]> {
  if (mark.fingerprint !== null && earlier?.fingerprint === mark.fingerprint)
    return [{ kind: 'unchanged', offset: 0, length: bytes }]
  if (!mapped) return allData(bytes)
  const now = await openFileOf(handle)
  if (copy !== null && earlier?.copy?.bytes === bytes) {
    const base = await copies.open(vm, name, earlier.copy)
    if (base !== null)
      try {
        return await changesBetween(commands, await openFileOf(base), now, signal)
      } finally {
        await base.close()
      }
  }
  return holesOf(commands, now, signal)
}

async function openFileOf(handle: FileHandle): Promise<OpenFile> {
  const { size, blocks } = await handle.stat()
  return { fd: handle.fd, bytes: size, blocks }
}

/** What is in page caches only may be missing from maps, and not show in times. */
async function sync(handle: FileHandle, what: string, log: Log): Promise<boolean> {
  try {
    await handle.sync()
    return true
  } catch (error) {
    log.warn(`${what} cannot be synced, and is read in full`, { error })
    return false
  }
}

function readMark({ mark }: VolumeState): Mark | null {
  try {
    return parseMark(parseJson(utf8(mark), { bytesMax: markBytesMax }))
  } catch {
    return null
  }
}
