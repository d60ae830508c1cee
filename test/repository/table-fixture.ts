import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { systemEntropy } from '../../src/base/environment.ts'
import type { Digest } from '../../src/base/names.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { encodeIndex, type IndexedPack } from '../../src/repository/index.ts'
import { scanIndex } from '../../src/repository/index-scan.ts'
import { IndexTable } from '../../src/repository/index-table.ts'
import { IndexTableWriter } from '../../src/repository/index-table-writer.ts'
import { never } from './fixtures.ts'

export const idOf = (text: string) => sha256Hex(Buffer.from(text))

/** An index object as its packs. */
export type Packs = readonly IndexedPack[]

/** Packs of `blobsPerPack` blobs, all different; `name` makes them so. */
export function samplePacks(name: string, packs: number, blobsPerPack: number): Packs {
  return Array.from({ length: packs }, (_, pack) => ({
    id: idOf(`${name} pack ${pack}`),
    blobs: Array.from({ length: blobsPerPack }, (_, blob) => ({
      type: blob % 7 === 0 ? ('tree' as const) : ('data' as const),
      id: idOf(`${name} ${pack} ${blob}`),
      offset: 1000 * blob,
      length: 1000 + (blob % 3),
      uncompressedLength: blob % 2 === 0 ? 0 : 5000 + blob,
    })),
  }))
}

/** A directory with a repository key, and the tables made in it. */
export class TableFixture implements AsyncDisposable {
  readonly directory: string
  readonly key = RepositoryKey.generate(systemEntropy)
  readonly path: string

  private constructor(directory: string) {
    this.directory = directory
    this.path = path.join(directory, 'blobs')
  }

  static async make(): Promise<TableFixture> {
    return new TableFixture(await mkdtemp(path.join(tmpdir(), 'index-table-')))
  }

  /** Index objects that are named by their place, beginning at `from`. */
  async write(
    indexes: readonly Packs[],
    base: IndexTable | null = null,
    at = this.path,
  ): Promise<IndexTable> {
    await using writer = await IndexTableWriter.begin(at, base, systemEntropy)
    const from = base?.indexes.length ?? 0
    for (const [number, packs] of indexes.entries())
      await writer.add(indexIdOf(from + number), scanIndex(encodeIndex(packs)))
    await writer.finish(this.key)
    return this.open(at)
  }

  async open(at = this.path, key = this.key): Promise<IndexTable> {
    const table = await IndexTable.open(at, key, never)
    if (table === null) throw new Error('no table')
    return table
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.key[Symbol.dispose]()
    await rm(this.directory, { recursive: true })
  }
}

export function indexIdOf(number: number): Digest {
  return idOf(`index ${number}`)
}

export function bytesOfId(id: string): Uint8Array {
  return new Uint8Array(Buffer.from(id, 'hex'))
}
