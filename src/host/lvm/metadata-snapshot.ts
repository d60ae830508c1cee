import { unlink } from 'node:fs/promises'
import path from 'node:path'
import { fromUtf8, utf8 } from '../../base/bytes.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, writeDurably } from '../../base/files.ts'
import { HostError } from '../errors.ts'
import type { ThinPool } from './thin-pool.ts'

/*
 * A pool in use changes its metadata while one reads it. The kernel can hold one snapshot of it, for all who ask, and
 * keeps it over a crash and a restart. One that somebody else holds is not ours to use: it may be of last week, when
 * the same device ids meant other volumes. Nor is it ours to release. So it is written down which one we hold, and one
 * that is held when we come is released only if it is that one, which a crash left.
 */

export class MetadataSnapshots {
  readonly #directory: string
  readonly #turns = new Map<string, Promise<unknown>>()

  /** `directory`: dom0's own, for the record of what is held. */
  constructor(directory: string) {
    this.#directory = directory
  }

  /** Calls `use` while a fresh snapshot is held; one after another. Throws `VOLUME_MAP` if somebody else holds one. */
  async hold<T>(thinPool: ThinPool, pool: string, use: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const record = path.join(this.#directory, thinPool.group, pool)
    const before = this.#turns.get(record) ?? Promise.resolve()
    const turn = before.then(() => holdNow(record, thinPool, pool, use, signal))
    this.#turns.set(
      record,
      turn.catch(() => {}),
    )
    return turn
  }
}

async function holdNow<T>(
  record: string,
  thinPool: ThinPool,
  pool: string,
  use: () => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  signal.throwIfAborted()
  // What was begun is ended, also when nobody waits for it any more.
  const never = new AbortController().signal
  const leftOver = await thinPool.heldSnapshot(pool, signal)
  if (leftOver !== null) {
    const ours = await readBounded(record, 100)
    if (ours?.parse(fromUtf8) !== leftOver)
      throw new HostError('VOLUME_MAP', `somebody else holds a metadata snapshot of ${pool}`)
    await thinPool.message(pool, 'release_metadata_snap', never)
  }
  await thinPool.message(pool, 'reserve_metadata_snap', never)
  try {
    const held = await thinPool.heldSnapshot(pool, never)
    if (held === null) throw new HostError('VOLUME_MAP', `${pool} holds no metadata snapshot`)
    await makePrivateDirectory(path.dirname(record))
    await writeDurably(record, utf8(held))
    const result = await use()
    // Whoever released it meanwhile let it be written over.
    if ((await thinPool.heldSnapshot(pool, never)) !== held)
      throw new HostError('VOLUME_MAP', `somebody else released the metadata snapshot of ${pool}`)
    return result
  } finally {
    await thinPool.message(pool, 'release_metadata_snap', never)
    await unlink(record).catch(ignoreMissing)
  }
}
