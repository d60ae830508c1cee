import { appendFile, readFile, unlink } from 'node:fs/promises'
import path from 'node:path'
import { toHex, view } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { errnoOf } from '../base/errors.ts'
import { ignoreMissing, makePrivateDirectory, writeDurably } from '../base/files.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { slotOf } from '../base/slots.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import type { RepositoryHistory } from '../ledger/repository-history.ts'
import { type BlobType, blobIdLength } from '../repository/format.ts'
import type { StoredPack } from '../repository/pack-uploads.ts'
import { slotTimes } from '../repository/read-cycle.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'

/*
 * Packs that a backup has stored and that no index names yet, so that the next order goes on where this one was interrupted.
 * One record a pack: u32le length, then sealed with the repository's key: type (1) | id (32) | bytes (u32le) | when it was
 * stored, in milliseconds since 1970 (f64le) | what an index will say of its blobs. A record that was cut off by a crash does
 * not open, and is the end.
 */

const lengthBytes = 4
const bytesAt = 1 + blobIdLength
const storedAt = bytesAt + 4
const fixedBytes = storedAt + 8
/** 0 and 1 were records that do not say when: those are left alone. */
const typeCodes = { data: 2, tree: 3 } as const satisfies Record<BlobType, number>
const headsAtOnce = 8

export interface JournalledPack extends StoredPack {
  readonly stored: Date
}

/**
 * Those that a backup may go on with. When the slot of a pack was read after it was stored, the ledger says that all packs
 * of the slot were read at that time or stored later, and this one was neither.
 */
export function unclaimed(
  packs: readonly JournalledPack[],
  { checks, time }: Pick<RepositoryHistory, 'checks' | 'time'>,
  now: Date,
): readonly JournalledPack[] {
  const times = slotTimes(checks, time, now)
  return packs.filter(
    ({ id, stored }) => stored <= now && stored.getTime() >= (times[slotOf(id)] ?? Number.POSITIVE_INFINITY),
  )
}

export class PackJournal {
  readonly #file: string
  readonly #key: RepositoryKey
  readonly #entropy: Entropy

  constructor(directory: string, key: RepositoryKey, entropy: Entropy) {
    this.#file = path.join(directory, 'packs.journal')
    this.#key = key
    this.#entropy = entropy
  }

  /** Durable when it resolves. To be called in turn. `stored`: at that time or later. */
  async append({ type, id, bytes, records }: StoredPack, stored: Date): Promise<void> {
    const plain = Buffer.alloc(fixedBytes)
    plain.writeUInt8(typeCodes[type])
    plain.write(id, 1, 'hex')
    plain.writeUInt32LE(bytes, bytesAt)
    plain.writeDoubleLE(stored.getTime(), storedAt)
    const sealed = this.#key.seal(Buffer.concat([plain, records]), this.#entropy)
    const length = Buffer.alloc(lengthBytes)
    length.writeUInt32LE(sealed.byteLength)
    await makePrivateDirectory(path.dirname(this.#file))
    await appendFile(this.#file, Buffer.concat([length, sealed]), { mode: 0o600, flush: true })
  }

  /**
   * The packs of an interrupted backup that the storage still has, each once. The journal is left without what follows a
   * record that was cut off, so that the next append is found, and without the packs that an index names: a prune
   * may take them out of every index, and then nobody shall go on with them. A storage that lies here could as well
   * have lost the pack afterwards.
   */
  async adopt(
    isNamed: (pack: Digest) => boolean,
    store: ObjectStore,
    signal: AbortSignal,
  ): Promise<readonly JournalledPack[]> {
    const packs = await this.#waiting(isNamed)
    const present: JournalledPack[] = []
    for (let at = 0; at < packs.length; at += headsAtOnce) {
      const some = packs.slice(at, at + headsAtOnce)
      const heads = await Promise.all(some.map(({ id }) => store.head(objectName('data', id), signal)))
      present.push(...some.filter((pack, index) => heads[index]?.bytes === pack.bytes))
    }
    return present
  }

  /** Nothing is left to be adopted: an index names the packs, and the ledger the index. */
  async clear(): Promise<void> {
    await unlink(this.#file).catch(ignoreMissing)
  }

  async #waiting(isNamed: (pack: Digest) => boolean): Promise<readonly JournalledPack[]> {
    const bytes = await readFile(this.#file).catch(error => {
      if (errnoOf(error) === 'ENOENT') return Buffer.alloc(0)
      throw error
    })
    const packs = new Map<string, JournalledPack>()
    const records: Buffer[] = []
    for (let at = 0; ; ) {
      const found = this.#recordAt(bytes, at)
      if (found === null) break
      const { pack, end } = found
      if (!isNamed(pack.id) && !packs.has(pack.id)) {
        packs.set(pack.id, pack)
        records.push(bytes.subarray(at, end))
      }
      at = end
    }
    const kept = Buffer.concat(records)
    if (kept.byteLength < bytes.byteLength) await writeDurably(this.#file, kept)
    return [...packs.values()]
  }

  #recordAt(bytes: Buffer, at: number): { readonly pack: JournalledPack; readonly end: number } | null {
    if (at + lengthBytes > bytes.byteLength) return null
    const end = at + lengthBytes + bytes.readUInt32LE(at)
    if (end > bytes.byteLength) return null
    let plain: Buffer
    try {
      plain = view(this.#key.open(bytes.subarray(at + lengthBytes, end)))
    } catch {
      return null
    }
    const type = plain[0] === typeCodes.data ? 'data' : plain[0] === typeCodes.tree ? 'tree' : undefined
    if (type === undefined || plain.byteLength < fixedBytes) return null
    const pack: JournalledPack = {
      type,
      id: parseDigest(toHex(plain.subarray(1, bytesAt))),
      bytes: plain.readUInt32LE(bytesAt),
      stored: new Date(plain.readDoubleLE(storedAt)),
      records: Uint8Array.from(plain.subarray(fixedBytes)),
    }
    return { pack, end }
  }
}
