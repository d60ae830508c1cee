import { constants } from 'node:fs'
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises'
import path from 'node:path'
import { view } from '../base/bytes.ts'
import { errnoOf, printable } from '../base/errors.ts'
import { compareNames, treeOfFiles } from '../crypto/tree-digest.ts'
import { SealError } from './errors.ts'

/* What goes into an image, read with care: whoever can write the tree may exchange things while it is read. */

export interface ImageDirectory {
  readonly kind: 'directory'
  readonly path: string
}
export interface ImageFile {
  readonly kind: 'file'
  readonly path: string
  readonly executable: boolean
  /** Its content as it is now; may be read once. */
  readonly content: AsyncIterable<Uint8Array>
}
export interface ImageLink {
  readonly kind: 'link'
  readonly path: string
  readonly target: string
}
/** Paths are relative, with `/`. A directory comes before what is in it. */
export type ImageEntry = ImageDirectory | ImageFile | ImageLink

const entriesMax = 1_000_000
const depthMax = 64
const partBytes = 1024 * 1024
const openFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK | constants.O_NOCTTY

/**
 * Everything below `root`, each directory sorted by the bytes of its names. Throws `SEAL_IMAGE_REFUSED` for devices, sockets,
 * pipes, names that are not UTF-8, links that lead out, and more than fits; or Node's errors.
 */
export async function* directoryEntries(root: string): AsyncGenerator<ImageEntry> {
  let count = 0
  async function* below(folder: string, depth: number): AsyncGenerator<ImageEntry> {
    if (depth > depthMax) throw refused(folder, `is more than ${depthMax} directories deep`)
    for (const name of await namesIn(path.join(root, folder), folder)) {
      const own = folder === '' ? name : `${folder}/${name}`
      count += 1
      if (count > entriesMax) throw refused(own, `would be more than ${entriesMax} entries`)
      const place = path.join(root, own)
      const found = await lstat(place)
      if (found.isDirectory()) {
        yield { kind: 'directory', path: own }
        yield* below(own, depth + 1)
      } else if (found.isSymbolicLink())
        yield { kind: 'link', path: own, target: requireInside(own, await readlink(place)) }
      else yield* file(place, own)
    }
  }
  yield* below('', 0)
}

/** Files that are in memory, as those of a sealed store, with the directories that they need. */
export async function* memoryEntries(files: ReadonlyMap<string, Uint8Array>): AsyncGenerator<ImageEntry> {
  for (const { kind, path: own } of treeOfFiles(files.keys())) {
    if (kind === 'directory') yield { kind, path: own }
    else yield { kind, path: own, executable: false, content: once(files.get(own) ?? new Uint8Array(0)) }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes
}

async function namesIn(directory: string, folder: string): Promise<readonly string[]> {
  const names = await readdir(directory)
  for (const name of names)
    if (name.includes('\ufffd')) throw refused(`${folder}/${name}`, 'has a name that is not UTF-8')
  return names.sort(compareNames)
}

/** One that was opened is read, whatever then happens to its name. */
async function* file(place: string, own: string): AsyncGenerator<ImageFile> {
  const handle = await opened(place, own)
  try {
    const found = await handle.stat()
    if (!found.isFile()) throw refused(own, 'is neither a file, a directory nor a link')
    yield { kind: 'file', path: own, executable: (found.mode & 0o100) !== 0, content: partsOf(handle) }
  } finally {
    await handle.close()
  }
}

async function opened(place: string, own: string): Promise<FileHandle> {
  try {
    return await open(place, openFlags)
  } catch (cause) {
    // A socket, or a device without a driver.
    if (errnoOf(cause) === 'ENXIO' || errnoOf(cause) === 'ENODEV')
      throw refused(own, 'is neither a file, a directory nor a link')
    throw cause
  }
}

async function* partsOf(handle: FileHandle): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(partBytes)
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, buffer.byteLength)
    if (bytesRead === 0) return
    yield view(buffer.subarray(0, bytesRead))
  }
}

/**
 * A link may climb at its beginning only, and not above the root. Directories on the way there are real ones, and links
 * on the way down are held to the same, so that none can lead out.
 */
function requireInside(own: string, untrustedTarget: string): string {
  const depth = own.split('/').length - 1
  const segments = untrustedTarget.split('/').filter(one => one !== '' && one !== '.')
  const climbing = segments.findIndex(one => one !== '..')
  const climbs = climbing === -1 ? segments.length : climbing
  if (untrustedTarget.startsWith('/') || untrustedTarget.includes('\ufffd'))
    throw refused(own, 'is a link to an absolute path, or to one that is not UTF-8')
  if (climbs > depth || segments.slice(climbs).includes('..'))
    throw refused(own, 'is a link that leads, or may lead, out of the tree')
  return untrustedTarget
}

function refused(own: string, found: string): SealError {
  return new SealError('SEAL_IMAGE_REFUSED', `'${printable(own).slice(0, 300)}' ${found}`)
}
