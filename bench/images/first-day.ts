import { createHash } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { blockBytes, databasePage, text } from './contents.ts'
import { Random } from './random.ts'

export type Kind = 'root' | 'private'

export interface VolumeFile {
  /** Relative to the root of the volume. */
  readonly path: string
  bytes: number
  readonly role: 'document' | 'database' | 'log' | 'container' | 'media'
}

/** Parts of the volume's content; documents are the rest. */
const shares: Readonly<Record<Kind, { random: number; database: number; log: number }>> = {
  root: { random: 0.12, database: 0.06, log: 0 },
  private: { random: 0.3, database: 0.18, log: 0.03 },
}
const documentBytesMax = 64 * 1024 * 1024
const pieceBytes = 4 * 1024 * 1024
const plainPath = /^[A-Za-z0-9._+@/-]+$/
const fixedTime = new Date(1735689600_000)

/** Fills a directory with what such a volume holds: documents are files of this machine's /usr. */
export function stageFirstDay(
  directory: string,
  kind: Kind,
  seed: string,
  bytesWanted: number,
): VolumeFile[] {
  const random = new Random(`${seed} first day of ${kind}`)
  const files: VolumeFile[] = []
  const add = (
    file: string,
    bytes: number,
    role: VolumeFile['role'],
    piece: (length: number, at: number) => Buffer,
  ) => {
    writePieces(path.join(directory, file), bytes, piece)
    files.push({ path: file, bytes, role })
  }
  const share = shares[kind]

  const databaseBytes = Math.max(16, Math.floor((bytesWanted * share.database) / 4 / blockBytes)) * blockBytes
  for (let number = 0; number < 4; number++)
    add(`var/db/store${number}.db`, databaseBytes, 'database', (length, at) =>
      Buffer.concat(
        Array.from({ length: length / blockBytes }, (_, page) =>
          databasePage(random, at / blockBytes + page),
        ),
      ),
    )
  if (share.log > 0)
    for (let number = 0; number < 4; number++)
      add(`var/log/app${number}.log`, Math.floor((bytesWanted * share.log) / 4), 'log', length =>
        text(random, length),
      )

  const randomBytes = bytesWanted * share.random
  add('data/container.bin', Math.floor(randomBytes / 2), 'container', length => random.bytes(length))
  for (let number = 0, left = randomBytes / 2; left > 0; number++) {
    const bytes = Math.min(random.between(200 * 1024, 6 * 1024 * 1024), Math.ceil(left))
    add(`media/m${number}.jpg`, bytes, 'media', length => random.bytes(length))
    left -= bytes
  }
  const used = files.reduce((sum, file) => sum + file.bytes, 0)
  files.push(...copyDocuments(directory, kind, seed, bytesWanted - used))
  for (const file of files) fs.utimesSync(path.join(directory, file.path), fixedTime, fixedTime)
  return files
}

function copyDocuments(directory: string, kind: Kind, seed: string, bytesWanted: number): VolumeFile[] {
  const copied: VolumeFile[] = []
  let left = bytesWanted
  for (const { source, bytes } of shuffled(listFiles('/usr'), `${seed} ${kind}`)) {
    if (left < 128 * 1024) break
    if (bytes > left) continue
    const file = `documents${source.slice('/usr'.length)}`
    fs.mkdirSync(path.dirname(path.join(directory, file)), { recursive: true })
    fs.copyFileSync(source, path.join(directory, file))
    fs.chmodSync(path.join(directory, file), 0o644)
    copied.push({ path: file, bytes, role: 'document' })
    // ext4 gives whole blocks to a file, and an inode.
    left -= Math.ceil(bytes / blockBytes) * blockBytes + 256
  }
  return copied
}

/** Does not follow links: /usr/bin/X11 is one to its own directory, and a recursive readdir never comes back from it. */
function listFiles(root: string): { source: string; bytes: number }[] {
  const found: { source: string; bytes: number }[] = []
  const directories = [root]
  for (let directory = directories.pop(); directory !== undefined; directory = directories.pop())
    for (const entry of fs.readdirSync(directory, { withFileTypes: true })) {
      const source = path.join(directory, entry.name)
      if (!plainPath.test(source)) continue
      if (entry.isDirectory()) directories.push(source)
      else if (entry.isFile()) {
        const bytes = fs.statSync(source, { throwIfNoEntry: false })?.size ?? 0
        if (bytes > 0 && bytes < documentBytesMax) found.push({ source, bytes })
      }
    }
  return found
}

function shuffled<T extends { source: string }>(list: readonly T[], label: string): T[] {
  const keyed = list.map(item => ({
    item,
    key: createHash('sha256')
      .update(label + item.source)
      .digest('hex'),
  }))
  return keyed.sort((a, b) => (a.key < b.key ? -1 : 1)).map(({ item }) => item)
}

function writePieces(file: string, bytes: number, piece: (length: number, at: number) => Buffer): void {
  fs.mkdirSync(path.dirname(file), { recursive: true })
  const handle = fs.openSync(file, 'w')
  for (let at = 0; at < bytes; at += pieceBytes)
    fs.writeSync(handle, piece(Math.min(pieceBytes, bytes - at), at))
  fs.closeSync(handle)
}
