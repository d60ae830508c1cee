import { fromHex } from '../base/bytes.ts'
import { objectName } from '../storage/object-store.ts'
import type { CheckFindings } from './check-report.ts'
import { RepositoryError } from './errors.ts'
import { blobIdLength } from './format.ts'
import type { IndexedPack } from './index.ts'
import { Lanes } from './lanes.ts'
import { headerRange, openPackHeader, type PackedBlob, packBytesOf, readPackHeader } from './pack.ts'
import { type BlobSource, fetchObject, openBlob } from './reader.ts'

/* Packs against the index that names them: their headers, or every byte of every blob. */

const headersMax = 4
/** Whole packs in memory. */
const packsMax = 2
/** Opened at once, of one pack. */
const blobsMax = 4

export interface CheckProgress {
  readonly packsDone: number
  readonly packsTotal: number
}

export async function checkPacks(
  source: BlobSource,
  packs: readonly IndexedPack[],
  findings: CheckFindings,
  readData: boolean,
  onProgress: (progress: CheckProgress) => void,
  signal: AbortSignal,
): Promise<void> {
  const lanes = new Lanes(readData ? packsMax : headersMax)
  const checkOne = readData ? checkWholePack : checkHeader
  let packsDone = 0
  try {
    for (const pack of packs) {
      await lanes.room()
      signal.throwIfAborted()
      lanes.start(async () => {
        const object = { name: `data/${pack.id}`, id: pack.id, missing: 'missingPacks' as const }
        await findings.step(object, () => checkOne(source, pack, signal))
        packsDone += 1
        onProgress({ packsDone, packsTotal: packs.length })
      })
    }
    await lanes.idle()
  } finally {
    await lanes.settled()
  }
}

/** Its size, and a header that opens and names the same blobs. Says nothing about the blobs themselves. */
async function checkHeader({ repository, store }: BlobSource, pack: IndexedPack, signal: AbortSignal) {
  const name = objectName('data', pack.id)
  const range = headerRange(pack.blobs)
  const answer = await store.get(name, range, signal)
  compareBlobs(
    pack.blobs,
    answer.parse(untrustedHeader => openPackHeader(repository.key, untrustedHeader)),
  )
  const bytes = (await store.head(name, signal))?.bytes
  if (bytes !== packBytesOf(pack.blobs))
    throw new RepositoryError(
      'PACK_DIFFERS',
      `a pack of ${bytes} bytes; its index says ${packBytesOf(pack.blobs)}`,
    )
}

/** Its hash, its header, and every blob in it. */
async function checkWholePack({ repository, store }: BlobSource, pack: IndexedPack, signal: AbortSignal) {
  const body = await fetchObject(store, 'data', pack.id, signal)
  compareBlobs(pack.blobs, readPackHeader(repository.key, body))
  const lanes = new Lanes(blobsMax)
  try {
    for (const blob of pack.blobs) {
      await lanes.room()
      const id = fromHex(blob.id, blobIdLength)
      const sealed = body.subarray(blob.offset, blob.offset + blob.length)
      lanes.start(async () => void (await openBlob(repository, blob.type, id, blob, sealed)))
    }
    await lanes.idle()
  } finally {
    await lanes.settled()
  }
}

/** An index may name the blobs of a pack in any order; the header has them as they lie. */
function compareBlobs(indexed: readonly PackedBlob[], inHeader: readonly PackedBlob[]): void {
  const sorted = indexed.toSorted((a, b) => a.offset - b.offset)
  const differs = (blob: PackedBlob, index: number) => {
    const other = inHeader[index]
    return (
      other === undefined ||
      blob.id !== other.id ||
      blob.type !== other.type ||
      blob.offset !== other.offset ||
      blob.length !== other.length ||
      blob.uncompressedLength !== other.uncompressedLength
    )
  }
  if (sorted.length !== inHeader.length || sorted.some(differs))
    throw new RepositoryError(
      'PACK_DIFFERS',
      `a pack whose header names ${inHeader.length} blobs, and whose index names ${sorted.length}, not all the same`,
    )
}
