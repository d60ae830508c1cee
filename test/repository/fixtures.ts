import { createHash, randomBytes } from 'node:crypto'
import fs from 'node:fs'
import path from 'node:path'
import { systemEntropy, systemEnvironment } from '../../src/base/environment.ts'
import type { Digest, VmName } from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import type { Extent } from '../../src/host/volumes.ts'
import type { Expected } from '../../src/repository/check.ts'
import { isZero } from '../../src/repository/chunker.ts'
import type { StoredObject } from '../../src/repository/format.ts'
import type { IndexTable } from '../../src/repository/index-table.ts'
import { bringIndexTable } from '../../src/repository/index-table-update.ts'
import type { TablePlace } from '../../src/repository/reader.ts'
import { type CreatedRepository, createRepository } from '../../src/repository/repository.ts'
import type { WriterSink } from '../../src/repository/restore.ts'
import type { BackupVolume } from '../../src/repository/volume-plan.ts'
import { type BackupResult, BackupWriter, type WriteProgress } from '../../src/repository/writer.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { scratch } from '../support/scratch.ts'

export const passphraseText = 'correct horse battery staple'
export const never = new AbortController().signal
export const KiB = 1024
export const MiB = 1024 * KiB

export function passphrase(text = passphraseText): Secret {
  return Secret.take(new TextEncoder().encode(text))
}

export function newRepository(store: ObjectStore): Promise<CreatedRepository> {
  using secret = passphrase()
  return createRepository(store, secret, systemEnvironment, never)
}

export const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

let directory: string | null = null
let files = 0

function newFile(name: string): string {
  directory ??= scratch('repository')
  return path.join(directory, `${name}-${files++}`)
}

/** For one table, removed with the tests of the file. */
export function tablePlace(): TablePlace {
  return { tablePath: newFile('table'), entropy: systemEntropy }
}

/** The blobs that the indexes of these backups name. It stays open. */
export async function tableOf(
  { repository }: Pick<CreatedRepository, 'repository'>,
  ...backups: readonly { readonly index: readonly StoredObject[] }[]
): Promise<IndexTable> {
  const bodies = new Map(backups.flatMap(({ index }) => index).map(({ id, body }) => [id, body]))
  const { tablePath, entropy } = tablePlace()
  const source = {
    key: repository.key,
    entropy,
    indexes: [...bodies.keys()],
    fetchIndex: async (id: Digest) => bodies.get(id) ?? new Uint8Array(0),
  }
  return keptOpen(await bringIndexTable(tablePath, source, never))
}

const tables: IndexTable[] = []

/** For as long as the process: a table that nobody holds is closed when memory is collected. */
export function keptOpen(table: IndexTable): IndexTable {
  tables.push(table)
  return table
}

/** A volume in a file, removed with the tests of the file. Ranges of zeros longer than `holeBytes` are told as holes. */
export function fileVolume(name: string, bytes: Uint8Array, holeBytes = 64 * KiB): BackupVolume {
  const file = newFile('volume')
  fs.writeFileSync(file, bytes)
  return {
    name,
    bytes: bytes.byteLength,
    path: file,
    async *extents(): AsyncGenerator<Extent> {
      for (let offset = 0; offset < bytes.byteLength; offset += holeBytes) {
        const part = bytes.subarray(offset, offset + holeBytes)
        const kind = isZero(part) ? 'hole' : 'data'
        yield { kind, offset, length: part.byteLength }
      }
    },
  }
}

/** The digest of a volume, computed from its bytes alone. */
export function volumeDigestOf(bytes: Uint8Array, chunkBytes: number): string {
  const hash = createHash('sha256')
  for (let at = 0; at < bytes.byteLength; at += chunkBytes)
    hash.update(
      createHash('sha256')
        .update(bytes.subarray(at, at + chunkBytes))
        .digest(),
    )
  return hash.digest('hex')
}

/** A bit of everything: text, noise, holes, an odd end. */
export function sampleImage(bytes: number, seed = 1): Uint8Array {
  const image = new Uint8Array(bytes)
  const text = Buffer.from(`block of volume ${seed} `.repeat(64))
  for (let at = 0; at + text.byteLength < Math.floor(bytes / 3); at += text.byteLength) {
    text.writeUInt32LE(at)
    image.set(text, at)
  }
  const noiseAt = Math.floor(bytes / 2)
  image.set(randomBytes(Math.floor(bytes / 5)), noiseAt)
  if (bytes > 0) image[bytes - 1] = seed
  return image
}

export class MemorySink implements WriterSink {
  readonly bytes: Uint8Array
  bytesWritten = 0

  constructor(bytes: number) {
    this.bytes = new Uint8Array(bytes)
  }

  async write(bytes: Uint8Array, offset: number): Promise<void> {
    this.bytes.set(bytes, offset)
    this.bytesWritten += bytes.byteLength
  }
}

export interface VmImages {
  readonly name: string
  readonly volumes: Readonly<Record<string, Uint8Array>>
}

export async function backup(
  created: CreatedRepository,
  store: ObjectStore,
  vms: readonly VmImages[],
  known?: IndexTable,
  onProgress: (progress: WriteProgress) => void = () => {},
): Promise<BackupResult> {
  const writer = new BackupWriter(created.repository, store, known ?? (await tableOf(created)), {
    ...systemEnvironment,
    concurrency: 2,
  })
  const results = []
  for (const { name, volumes } of vms) {
    const done = []
    for (const [volume, bytes] of Object.entries(volumes))
      done.push(await writer.addVolume(fileVolume(volume, bytes), onProgress, never))
    results.push({ name: name as VmName, volumes: done })
  }
  return writer.finish({ vms: results, time: new Date(), tags: ['job:test'] }, never)
}

export function expectedOf(created: CreatedRepository, ...results: readonly BackupResult[]): Expected {
  return {
    pinned: created,
    snapshots: results,
    indexSets: results.map(({ index, packsSummary }) => ({ index, packs: packsSummary })),
  }
}
