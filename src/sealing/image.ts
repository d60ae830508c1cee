import { lstat, mkdir, mkdtemp, open, realpath, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { toHex, utf8 } from '../base/bytes.ts'
import { errnoOf } from '../base/errors.ts'
import { readWhole, syncDirectory, writeDurably, writeWhole } from '../base/files.ts'
import type { Digest } from '../base/names.ts'
import { type Readable, writeVerity } from '../crypto/verity.ts'
import { verityBlockBytes } from '../crypto/verity-format.ts'
import { makeErofs } from './erofs.ts'
import { SealError } from './errors.ts'
import { imageFiles, imageIdentity, uuidText } from './image-files.ts'
import { type ImageSigner, signedContent, signRootHash } from './image-signer.ts'
import type { ImageEntry } from './image-source.ts'
import { type StagedTree, stageTree } from './image-stage.ts'
import { reportingIo } from './io.ts'

/*
 * A tree of files as a signed file system: a reproducible EROFS image, its dm-verity hash tree, the root hash, and a
 * signature over that. The same tree gives the same root hash with the same mkfs.erofs.
 */

export interface ImageOptions {
  readonly entries: AsyncIterable<ImageEntry>
  /** Must not exist, or be empty; its parent must exist. */
  readonly out: string
  /** `null` leaves the image unsigned. */
  readonly signer: ImageSigner | null
  readonly progress: ImageProgress
}

export type ImageStep = 'copied' | 'hashed' | 'verified'
/** `bytesTotal` is `null` while it is not known. */
export type ImageProgress = (step: ImageStep, bytesDone: number, bytesTotal: number | null) => void

export interface Image {
  readonly rootHash: Digest
  readonly salt: string
  readonly uuid: string
  readonly fileSystemUuid: string
  readonly blocks: number
  readonly tree: StagedTree
  readonly tool: string
  /** SHA-256 of the certificate. */
  readonly signer: Digest | null
}

/**
 * Writes all files of an image, or none: they are made beside `out` and renamed. Throws `SEAL_EXISTS`, `SEAL_IMAGE_REFUSED`,
 * `SEAL_IMAGE_TOOL`, `SEAL_IO`, what the signer throws, or the signal's reason.
 */
export async function makeImage(options: ImageOptions, signal: AbortSignal): Promise<Image> {
  const out = path.resolve(options.out)
  return reportingIo(async () => {
    await requireAbsent(out)
    const work = await mkdtemp(`${out}.new-`)
    try {
      const staging = path.join(work, 'tree')
      const result = path.join(work, 'image')
      await mkdir(staging)
      await mkdir(result, { mode: 0o700 })
      const image = await build(options, staging, result, signal)
      await syncDirectory(result)
      signal.throwIfAborted()
      await rename(result, out).catch(cause => {
        if (errnoOf(cause) === 'ENOTEMPTY' || errnoOf(cause) === 'EEXIST') throw taken(out)
        throw cause
      })
      await syncDirectory(path.dirname(out))
      return image
    } finally {
      await rm(work, { recursive: true, force: true })
    }
  })
}

/** Throws `SEAL_IMAGE_REFUSED` if the image would become a part of what it is made of. */
export async function requireOutside(out: string, source: string): Promise<void> {
  const resolved = path.resolve(out)
  const parent = await reportingIo(() => realpath(path.dirname(resolved)))
  const root = await reportingIo(() => realpath(source))
  const relative = path.relative(root, path.join(parent, path.basename(resolved)))
  if (relative === '..' || relative.startsWith('../')) return
  throw new SealError('SEAL_IMAGE_REFUSED', `${out} is inside ${source}`)
}

async function build(
  { entries, signer, progress }: ImageOptions,
  staging: string,
  result: string,
  signal: AbortSignal,
): Promise<Image> {
  const tree = await stageTree(entries, staging, bytes => progress('copied', bytes, null), signal)
  const { fileSystemUuid, verity } = imageIdentity(tree.digest)
  const files = imageFiles(result)
  const tool = await makeErofs(files.image, staging, fileSystemUuid, signal)
  await rm(staging, { recursive: true })
  await using image = await openReadable(files.image, 'r+')
  await image.settle()
  await using hashes = await openReadable(files.tree, 'wx')
  const rootHash = await writeVerity(image, verity, (bytes, at) => hashes.write(bytes, at), {
    progress: (done, total) => progress('hashed', done, total),
    signal,
  })
  await hashes.settle()
  await writeDurably(files.rootHash, signedContent(rootHash), fileMode)
  if (signer !== null)
    await writeDurably(files.signature, await signRootHash(signer, rootHash, signal), fileMode)
  const made: Image = {
    rootHash,
    salt: toHex(verity.salt),
    uuid: uuidText(verity.uuid),
    fileSystemUuid,
    blocks: image.bytes / verityBlockBytes,
    tree,
    tool,
    signer: signer?.certificate.fingerprint ?? null,
  }
  await writeDurably(
    files.description,
    utf8(`${JSON.stringify({ v: 1, type: 'image', ...made })}\n`),
    fileMode,
  )
  return made
}

const fileMode = 0o600

interface OpenImageFile extends Readable, AsyncDisposable {
  write(bytes: Uint8Array, position: number): Promise<void>
  /** Sets the mode, whatever the umask was, and waits until it is on disk. */
  settle(): Promise<void>
}

/** A file of an image, of the length that it has now. Throws `SEAL_IO`. */
export async function openReadable(file: string, flags: 'r' | 'r+' | 'wx'): Promise<OpenImageFile> {
  const handle = await reportingIo(() => open(file, flags, fileMode))
  try {
    const found = await handle.stat()
    if (!found.isFile()) throw new SealError('SEAL_IO', `${file} is no plain file`)
    return {
      bytes: found.size,
      read: async (into, position) => {
        if (await readWhole(handle, into, position)) return
        throw new SealError('SEAL_IO', `${file} became shorter while it was read`)
      },
      write: (bytes, position) => writeWhole(handle, bytes, position),
      settle: async () => {
        await handle.chmod(fileMode)
        await handle.sync()
      },
      [Symbol.asyncDispose]: () => handle.close(),
    }
  } catch (error) {
    await handle.close()
    throw error
  }
}

async function requireAbsent(out: string): Promise<void> {
  const found = await lstat(out).catch(cause => {
    if (errnoOf(cause) === 'ENOENT') return null
    throw cause
  })
  if (found !== null) throw taken(out)
}

function taken(out: string): SealError {
  return new SealError('SEAL_EXISTS', `${out} exists; an image is never overwritten`)
}
