import { objectName } from '../storage/object-store.ts'
import type { CheckFindings } from './check-report.ts'
import { RepositoryError } from './errors.ts'
import type { IndexedPack } from './index.ts'
import { Lanes } from './lanes.ts'
import { headerRange, openPackHeader, packBytesOf } from './pack.ts'
import { compareBlobs } from './pack-work.ts'
import type { BlobSource } from './reader.ts'

/* Packs against the index that names them: their headers, or every byte of every blob. */

const headersMax = 4

/** Of the packs that are read, and of the headers of the others. */
export interface CheckProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
}

/** `isRead`: of which packs every byte is read. Answers those that were wrong or missing. */
export async function checkPacks(
  source: BlobSource,
  packs: readonly IndexedPack[],
  findings: CheckFindings,
  isRead: (pack: IndexedPack) => boolean,
  onProgress: (progress: CheckProgress) => void,
  signal: AbortSignal,
): Promise<ReadonlySet<IndexedPack>> {
  // While each thread has a pack, the next is fetched.
  const lanes = new Lanes(packs.some(isRead) ? source.repository.threads.width + 1 : headersMax)
  const faulty = new Set(packs)
  const bytesToRead = (pack: IndexedPack) =>
    isRead(pack) ? packBytesOf(pack.blobs) : headerRange(pack.blobs).length
  const bytesTotal = packs.reduce((sum, pack) => sum + bytesToRead(pack), 0)
  let bytesDone = 0
  try {
    for (const pack of packs) {
      await lanes.room()
      signal.throwIfAborted()
      lanes.start(async () => {
        const object = { name: `data/${pack.id}`, id: pack.id, missing: 'missingPacks' as const }
        await findings.step(object, async () => {
          await (isRead(pack) ? checkWholePack : checkHeader)(source, pack, signal)
          faulty.delete(pack)
        })
        bytesDone += bytesToRead(pack)
        onProgress({ bytesDone, bytesTotal })
      })
    }
    await lanes.idle()
  } finally {
    await lanes.settled()
  }
  return faulty
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
  const { id, blobs } = pack
  const answer = await store.get(objectName('data', id), 'whole', signal)
  await answer.parse(untrustedBytes =>
    repository.threads.do({ kind: 'check', id, offset: 0, untrustedBytes, blobs }),
  )
}
