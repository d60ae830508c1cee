import { readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { fromBase64, toBase64, utf8 } from '../base/bytes.ts'
import { ignoreMissing, readBounded, syncDirectory, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type EntryOf, encodeEntry, parseEntry } from '../ledger/entry.ts'
import { RepositoryError } from '../repository/errors.ts'
import { type ObjectStore, objectName } from '../storage/object-store.ts'
import { EngineError } from './errors.ts'

/*
 * The moment a snapshot begins to exist, safe against a crash at any step:
 *   1. packs and index objects are durable in storage (the writer's order);
 *   2. the intention (ledger entry and snapshot object) is durable in dom0;
 *   3. the snapshot object is put;  4. the ledger entry is appended;  5. the intention is removed.
 * A crash before 2 leaves garbage that no one sees. After 2 everything needed is in hand, so the commit is always
 * completed: putting the same object again is a success, and an entry already in the ledger is not appended twice.
 * So no snapshot is visible that the ledger does not know for long, and none is in the ledger that cannot be read.
 * An intention has its job's name: a check that completes an old one beside a backup never takes away the new one.
 */

const intentionBytesMax = 8 * 1024 * 1024

const parseIntention = fields('intention', {
  entry: is.string(100_000),
  body: is.string(intentionBytesMax),
})

export interface Intention {
  readonly entry: EntryOf<'snapshot'>
  readonly body: Uint8Array
}

export interface CommitLedger {
  hasSnapshot(entry: EntryOf<'snapshot'>): boolean
  append(entries: readonly EntryOf<'snapshot'>[]): Promise<unknown>
}

export class CommitLog {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** Throws `SNAPSHOT_LIMIT`, and intends nothing, when the entry could not be read again. */
  async begin(intention: Intention): Promise<void> {
    const file = path.join(this.#directory, `commit-${intention.entry.job}.json`)
    await writeDurably(file, encodeIntention(intention))
  }

  /** Completes what was intended, oldest first. Idempotent; throws what storage or ledger throw, and keeps it then. */
  async complete(store: ObjectStore, ledger: CommitLedger, signal: AbortSignal): Promise<void> {
    for (const file of await this.#files()) {
      const intention = await readIntention(file)
      if (intention === null) continue
      const { entry, body } = intention
      await store.put(objectName('snapshots', entry.snapshot.id), body, signal)
      if (!ledger.hasSnapshot(entry)) await ledger.append([entry])
      await unlink(file).catch(ignoreMissing)
      await syncDirectory(this.#directory)
    }
  }

  async #files(): Promise<readonly string[]> {
    const names = await readdir(this.#directory).catch(error => {
      ignoreMissing(error)
      return []
    })
    const intentions = names.filter(name => name.startsWith('commit-') && name.endsWith('.json'))
    return intentions.sort().map(name => path.join(this.#directory, name))
  }
}

/** `null`: completed meanwhile by someone else. */
async function readIntention(file: string): Promise<Intention | null> {
  const untrustedBytes = await readBounded(file, intentionBytesMax)
  if (untrustedBytes === null) return null
  try {
    return untrustedBytes.parse(decodeIntention)
  } catch (cause) {
    throw new EngineError('STATE_DAMAGED', 'the record of an unfinished commit does not read', { cause })
  }
}

/** One that is durable and cannot be read would stop every later job of its profile. */
function encodeIntention({ entry, body }: Intention): Uint8Array {
  try {
    const text = JSON.stringify({ entry: toBase64(encodeEntry(entry)), body: toBase64(body) })
    const bytes = utf8(text)
    decodeIntention(bytes)
    return bytes
  } catch (cause) {
    throw new RepositoryError(
      'SNAPSHOT_LIMIT',
      `an entry of the ledger cannot hold a snapshot of ${entry.volumes} volumes with ${entry.index.length} index objects`,
      { cause },
    )
  }
}

function decodeIntention(bytes: Uint8Array): Intention {
  const { entry, body } = parseIntention(parseJson(bytes, { bytesMax: intentionBytesMax }))
  const parsed = parseEntry(fromBase64(entry))
  if (parsed.type !== 'snapshot') throw new EngineError('STATE_DAMAGED', 'the intention is not of a snapshot')
  return { entry: parsed, body: fromBase64(body) }
}
