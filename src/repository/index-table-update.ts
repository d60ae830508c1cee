import type { Entropy } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import { release } from '../base/memory.ts'
import type { Digest } from '../base/names.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { BlobRecords } from './blob-records.ts'
import { indexBytesMax } from './format.ts'
import { scanIndex } from './index-scan.ts'
import { IndexTable } from './index-table.ts'
import { IndexTableWriter } from './index-table-writer.ts'
import { eventLoopTurn } from './lanes.ts'
import { openUnpacked } from './unpacked.ts'

export interface IndexTableSource {
  readonly key: RepositoryKey
  readonly entropy: Entropy
  /** All index objects that the table is to have, each once. */
  readonly indexes: readonly Digest[]
  /** The body of one, which has this hash. Asked for what no table has yet. */
  readonly fetchIndex: (id: Digest) => Promise<Uint8Array>
  /** A table that was there is not used, and made again from nothing. Without it that is an error like any other. */
  readonly onDamaged?: (error: CodedError) => void
  /** Runs `add`, which takes one index object in; what it keeps from being thrown is left out of the table. */
  readonly each?: (id: Digest, add: () => Promise<void>) => Promise<void>
}

/**
 * The table of exactly these index objects, at `path` in a directory that exists. One that is there is used as far as it goes: index
 * objects that it has not are added, and it is made again when it has some that are not wanted any more. Throws `MAC_WRONG`,
 * `REPOSITORY_FORMAT`, `REPOSITORY_LIMIT` for an index object, `INDEX_TABLE_FULL`, `INDEX_TABLE_WRITE`, and what `fetchIndex` throws.
 */
export async function bringIndexTable(
  path: string,
  source: IndexTableSource,
  signal: AbortSignal,
): Promise<IndexTable> {
  const wanted = new Set(source.indexes)
  await using existing = new AsyncDisposableStack()
  const before = existing.use(await openUsable(path, source, signal))
  const base = before?.indexes.every(id => wanted.has(id)) ? before : null
  if (base !== null && base.indexes.length === wanted.size) {
    existing.move()
    return base
  }
  for (const id of base?.indexes ?? []) wanted.delete(id)
  await using writer = await IndexTableWriter.begin(path, base, source.entropy)
  const { each = (_, add) => add() } = source
  const records = new BlobRecords()
  for (const id of wanted) {
    signal.throwIfAborted()
    await each(id, async () => {
      const plaintext = await openUnpacked(source.key, await source.fetchIndex(id), indexBytesMax)
      const scanned = scanIndex(plaintext, records)
      release(plaintext)
      await writer.add(id, scanned)
    })
    await eventLoopTurn()
  }
  await writer.finish(source.key)
  const made = await IndexTable.open(path, source.key, signal)
  if (made === null) throw new Error('the index table that was just written is not there')
  return made
}

async function openUsable(
  path: string,
  { key, onDamaged }: IndexTableSource,
  signal: AbortSignal,
): Promise<IndexTable | null> {
  try {
    return await IndexTable.open(path, key, signal)
  } catch (error) {
    if (!(error instanceof CodedError) || error.code !== 'INDEX_TABLE_DAMAGED' || onDamaged === undefined)
      throw error
    onDamaged(error)
    return null
  }
}
