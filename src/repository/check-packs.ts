import type { Digest } from '../base/names.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import type { CheckFindings } from './check-report.ts'
import { RepositoryError } from './errors.ts'
import type { ObjectReference } from './format.ts'
import type { IndexedPack } from './index.ts'
import type { IndexTable } from './index-table.ts'
import { Lanes } from './lanes.ts'
import { headerRange, openPackHeader, packBytesOf } from './pack.ts'
import { compareBlobs } from './pack-work.ts'
import type { Repository } from './repository.ts'

/* Packs against the index that names them: their headers, or every byte of every blob. */

const headersMax = 4

/** Of the packs that are read, and of the headers of the others. */
export interface CheckProgress {
  readonly bytesDone: number
  readonly bytesTotal: number
}

export interface ExpectedPack extends ObjectReference {
  readonly headerBytes: number
}

export interface PackSource {
  readonly repository: Repository
  readonly store: ObjectStore
  /** Of all blobs, pack by pack. */
  readonly table: IndexTable
  /** All packs of the table, each once. */
  readonly packs: readonly ExpectedPack[]
}

/** `isRead`: of which packs every byte is read. Answers those that were wrong or missing. */
export async function checkPacks(
  source: PackSource,
  findings: CheckFindings,
  isRead: (pack: ObjectReference) => boolean,
  onProgress: (progress: CheckProgress) => void,
  signal: AbortSignal,
): Promise<ReadonlySet<Digest>> {
  const { repository, table, packs } = source
  // While each thread has a pack, the next is fetched.
  const lanes = new Lanes(packs.some(isRead) ? repository.threads.width + 1 : headersMax)
  const faulty = new Set(packs.map(({ id }) => id))
  const bytesToRead = (pack: ExpectedPack) => (isRead(pack) ? pack.bytes : pack.headerBytes)
  const bytesTotal = packs.reduce((sum, pack) => sum + bytesToRead(pack), 0)
  let bytesDone = 0
  try {
    let at = 0
    for await (const pack of table.packs()) {
      if (pack.repeats) continue
      const expected = packs[at++]
      if (expected?.id !== pack.id) throw new RangeError('not the packs of this table')
      await lanes.room()
      signal.throwIfAborted()
      lanes.start(async () => {
        const object = { name: `data/${pack.id}`, id: pack.id, missing: 'missingPacks' as const }
        await findings.step(object, async () => {
          await (isRead(expected) ? checkWholePack : checkHeader)(source, pack, signal)
          faulty.delete(pack.id)
        })
        bytesDone += bytesToRead(expected)
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
async function checkHeader({ repository, store }: PackSource, pack: IndexedPack, signal: AbortSignal) {
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
async function checkWholePack({ repository, store }: PackSource, pack: IndexedPack, signal: AbortSignal) {
  const { id, blobs } = pack
  const answer = await store.get(objectName('data', id), 'whole', signal)
  await answer.parse(untrustedBytes =>
    repository.threads.do({ kind: 'check', id, offset: 0, untrustedBytes, blobs }),
  )
}
