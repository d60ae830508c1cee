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
  // While each thread has a pack, the next is fetched.
  const lanes = new Lanes(readData ? source.repository.threads.width + 1 : headersMax)
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
  const { id, blobs } = pack
  const answer = await store.get(objectName('data', id), 'whole', signal)
  await answer.parse(untrustedBytes =>
    repository.threads.do({ kind: 'check', id, offset: 0, untrustedBytes, blobs }),
  )
}
