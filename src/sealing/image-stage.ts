import { chmod, type FileHandle, mkdir, open, symlink } from 'node:fs/promises'
import path from 'node:path'
import { writeWhole } from '../base/files.ts'
import type { Digest } from '../base/names.ts'
import { Sha256 } from '../crypto/digest.ts'
import { TreeDigest } from '../crypto/tree-digest.ts'
import type { ImageEntry } from './image-source.ts'

/*
 * The copy that an image is made from: one order, two modes for files and one for directories, no links between files, no
 * attributes. What is digested on the way is what was copied, whatever happens to the source meanwhile.
 */

const directoryMode = 0o755
const fileMode = 0o644
const programMode = 0o755

export interface StagedTree {
  /** Over everything that can be seen in the image: equal trees have equal digests. */
  readonly digest: Digest
  readonly files: number
  readonly bytes: number
}

/** Fills `root`, a directory that exists and is empty. Throws what `entries` throws, or Node's errors. */
export async function stageTree(
  entries: AsyncIterable<ImageEntry>,
  root: string,
  progress: (bytesDone: number) => void,
  signal: AbortSignal,
): Promise<StagedTree> {
  const digest = new TreeDigest()
  let files = 0
  let bytes = 0
  await chmod(root, directoryMode)
  for await (const entry of entries) {
    signal.throwIfAborted()
    const place = path.join(root, entry.path)
    if (entry.kind === 'directory') {
      await mkdir(place)
      // Explicitly: mkdir and open leave out what the umask says.
      await chmod(place, directoryMode)
      digest.directory(entry.path)
    } else if (entry.kind === 'link') {
      await symlink(entry.target, place)
      digest.link(entry.path, entry.target)
    } else {
      const before = bytes
      const copied = await copy(entry, place, length => {
        bytes += length
        signal.throwIfAborted()
        progress(bytes)
      })
      files += 1
      digest.file(entry.path, { executable: entry.executable, bytes: bytes - before, digest: copied })
    }
  }
  return { digest: digest.finish(), files, bytes }
}

async function copy(
  { executable, content }: Extract<ImageEntry, { kind: 'file' }>,
  place: string,
  wrote: (length: number) => void,
): Promise<Digest> {
  const digest = new Sha256()
  const handle: FileHandle = await open(place, 'wx', fileMode)
  try {
    let at = 0
    for await (const part of content) {
      digest.update(part)
      await writeWhole(handle, part, at)
      at += part.byteLength
      wrote(part.byteLength)
    }
    await handle.chmod(executable ? programMode : fileMode)
  } finally {
    await handle.close()
  }
  return digest.finish()
}
