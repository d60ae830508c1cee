import { constants } from 'node:fs'
import { open, readdir, readlink } from 'node:fs/promises'
import path from 'node:path'
import { errnoOf, printable } from '../base/errors.ts'
import type { Digest } from '../base/names.ts'
import type { StoreDisk } from './disk.ts'
import { envelopeBytesMax } from './envelope.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { namedFiles, rolesDirectory, type StoreFiles, storeFiles, storeFilesMax } from './store-files.ts'

/*
 * A store on disk:
 *
 *   <directory>/current                    a link to the generation in force
 *   <directory>/version-7-0123456789abcdef/
 *     1.root.json 2.root.json              the roots since the pinned one
 *     snapshot.json
 *     roles/profiles.json …
 *
 * A generation is written whole, synced, and comes into force by renaming the link: a crash leaves the old one or the
 * new one. Its name holds the digest of what is in it, so writing the same generation again can harm nobody.
 */

const currentLink = 'current'
const generationName = /^version-\d{1,10}-[0-9a-f]{16}$/

export function generationOf(version: number, digest: Digest): string {
  return `version-${version}-${digest.slice(0, 16)}`
}

/** The generation in force. Throws `SEAL_EMPTY`, `SEAL_FILE_UNEXPECTED`, `SEAL_TOO_LARGE`, `SEAL_IO`. */
export async function readGeneration(directory: string): Promise<StoreFiles> {
  const current = await currentGeneration(directory)
  if (current === null) throw new SealError('SEAL_EMPTY', `there is no sealed store in ${directory}`)
  return reportingIo(async () => {
    const names = await listFiles(path.join(directory, current))
    const named: (readonly [string, Uint8Array])[] = []
    for (const name of names)
      named.push([name, await readSealedFile(path.join(directory, current, name), name)])
    return storeFiles(named)
  })
}

export async function hasGeneration(directory: string): Promise<boolean> {
  return (await currentGeneration(directory)) !== null
}

/** Replaces the generation in force; durable when it resolves. */
export async function writeGeneration(
  directory: string,
  name: string,
  files: StoreFiles,
  disk: StoreDisk,
): Promise<void> {
  // What could not be read again is not written.
  requireCount(namedFiles(files).length)
  await reportingIo(async () => {
    await disk.makeDirectory(directory)
    if ((await currentGeneration(directory)) !== name) {
      await writeFiles(path.join(directory, name), files, disk)
      await disk.sync(directory)
      const beside = path.join(directory, `${currentLink}.new`)
      await disk.remove(beside)
      await disk.link(name, beside)
      await disk.rename(beside, path.join(directory, currentLink))
    }
    await disk.sync(directory)
  })
}

/** Removes what is not in force: the generation before, or what a crash left behind. */
export async function sweepGenerations(directory: string, disk: StoreDisk): Promise<void> {
  const current = await currentGeneration(directory)
  if (current === null) return
  await reportingIo(async () => {
    for (const name of await readdir(directory))
      if (name !== current && (generationName.test(name) || name === `${currentLink}.new`))
        await disk.remove(path.join(directory, name))
  })
}

async function writeFiles(directory: string, files: StoreFiles, disk: StoreDisk): Promise<void> {
  await disk.remove(directory)
  await disk.makeDirectory(path.join(directory, rolesDirectory))
  for (const [name, bytes] of namedFiles(files)) await disk.write(path.join(directory, name), bytes)
  await disk.sync(path.join(directory, rolesDirectory))
  await disk.sync(directory)
}

async function currentGeneration(directory: string): Promise<string | null> {
  const target = await readlink(path.join(directory, currentLink)).catch(error => {
    if (errnoOf(error) === 'ENOENT') return null
    throw new SealError('SEAL_IO', `${currentLink} of ${directory} cannot be read`, { cause: error })
  })
  if (target !== null && !generationName.test(target))
    throw new SealError('SEAL_FILE_UNEXPECTED', `${currentLink} points to '${printable(target)}'`)
  return target
}

async function listFiles(generation: string): Promise<readonly string[]> {
  const names: string[] = []
  for (const entry of await readdir(generation)) if (entry !== rolesDirectory) names.push(entry)
  for (const entry of await readdir(path.join(generation, rolesDirectory)))
    names.push(`${rolesDirectory}/${entry}`)
  requireCount(names.length)
  return names
}

function requireCount(count: number): void {
  if (count > storeFilesMax)
    throw new SealError('SEAL_FILE_UNEXPECTED', `${count} files in the store; at most ${storeFilesMax}`)
}

async function readSealedFile(file: string, what: string): Promise<Uint8Array> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const status = await handle.stat()
    if (!status.isFile())
      throw new SealError('SEAL_FILE_UNEXPECTED', `${printable(what)} is not a plain file`)
    if (status.size > envelopeBytesMax)
      throw new SealError(
        'SEAL_TOO_LARGE',
        `${printable(what)}: ${status.size} bytes; at most ${envelopeBytesMax}`,
      )
    return new Uint8Array(await handle.readFile())
  } finally {
    await handle.close()
  }
}
