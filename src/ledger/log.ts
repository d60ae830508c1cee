import { equalConstantTime, utf8 } from '../base/bytes.ts'
import type { Clock } from '../base/environment.ts'
import type { Untrusted } from '../base/untrusted.ts'
import {
  type Checkpoint,
  formatCheckpoint,
  type SignedCheckpoint,
  verifyCosignatureLine,
} from './checkpoint.ts'
import { type Entry, encodeEntry, parseEntry } from './entry.ts'
import { LedgerError } from './errors.ts'
import {
  allDone,
  DurableBatch,
  diskFiles,
  fileError,
  type KnownDirectories,
  type LedgerFiles,
} from './files.ts'
import { emptyRoot } from './merkle.ts'
import { isBy, noteBytesMax, type VerifierKey, verifierKey } from './note.ts'
import { consistencyProof, inclusionProof, rootOf } from './proofs.ts'
import { type Signer, signCheckpoint } from './signing.ts'
import {
  checkpointFile,
  encodeWitnessed,
  type LedgerFloor,
  type LedgerState,
  loadState,
  loadWitnessed,
  requireFloor,
  type Witnessed,
  witnessFile,
} from './stored.ts'
import { TileTree } from './tile-tree.ts'
import { edgeRoot, grow, supersededTiles, tileWidth } from './tiles.ts'

/*
 * The ledger as dom0 keeps it: one writer, on disk as tlog-tiles. An append has the new checkpoint signed, writes new tiles
 * beside those that the present one needs, makes them durable, and replaces the old checkpoint: that rename is the commit.
 * What is appended while another append is written is committed together. A crash before the rename leaves files that the
 * next append writes again; nothing is ever repaired on opening.
 */

const appendEntriesMax = 10_000
const waitingMax = 1000

export interface LedgerOptions {
  /** The ledger's name, and that of the key that signs it: ASCII without space and plus. */
  readonly origin: string
  readonly signer: Signer
  readonly clock: Clock
  /** Whose cosignatures are kept. */
  readonly witnesses?: readonly VerifierKey[]
  /** What the ledger is known to have had, from outside its disk. */
  readonly floor?: LedgerFloor
  /** Whether `open` reads every entry, or only proves the end of the tree and the rest as it is read. */
  readonly audit?: 'everything' | 'end'
  readonly files?: (directory: string) => LedgerFiles
}

interface AppendGroup {
  readonly leaves: Uint8Array[]
  readonly done: Promise<{ readonly index: number; readonly size: number }>
}

export interface LedgerEntry {
  readonly index: number
  readonly entry: Entry
  /** The leaf, exactly as it was appended. */
  readonly bytes: Uint8Array
}

export class Ledger {
  readonly #options: LedgerOptions
  readonly #files: LedgerFiles
  readonly #log: VerifierKey
  readonly #witnessed: Map<string, Witnessed>
  /** The newest of each witness, on its way to the disk. */
  readonly #arrived = new Map<string, Witnessed>()
  readonly #directories: KnownDirectories = new Set()
  /** Leaves that the next append takes along. */
  #group: AppendGroup | null = null
  #state: LedgerState
  /** The disk may be ahead of `#state`: a write failed where its effect cannot be known. */
  #uncertain = false
  #waiting = 0
  #last: Promise<unknown> = Promise.resolve()

  private constructor(
    options: LedgerOptions,
    files: LedgerFiles,
    log: VerifierKey,
    state: LedgerState,
    witnessed: readonly Witnessed[],
  ) {
    this.#options = options
    this.#files = files
    this.#log = log
    this.#state = state
    this.#witnessed = new Map(witnessed.map(one => [witnessFile(one.witness), one]))
  }

  /** Starts a ledger with its genesis entry, where there is none. Throws `LEDGER_EXISTS`. */
  static async create(directory: string, options: LedgerOptions): Promise<Ledger> {
    const files = (options.files ?? diskFiles)(directory)
    try {
      await files.makeDirectory('.')
      const found = await files.list('.')
      if (found.some(name => name === checkpointFile || name === 'tile' || name === 'witness'))
        throw new LedgerError('LEDGER_EXISTS', 'the directory already holds a ledger or what is left of one')
      // The empty tree first: tiles without a checkpoint are then always damage, never a creation that stopped.
      const empty = { origin: options.origin, size: 0, root: emptyRoot() }
      await replace(
        new DurableBatch(files),
        checkpointFile,
        noteOf(await signCheckpoint(empty, options.signer)),
      )
    } catch (cause) {
      throw fileError(cause)
    }
    return await Ledger.open(directory, options)
  }

  /**
   * Opens an existing ledger and proves it: the checkpoint's signature, the tiles and entries below it, and that it is
   * no older than the floor and the witnesses' notes. Throws `LEDGER_MISSING`, `LEDGER_DAMAGED`, `LEDGER_ROLLED_BACK`,
   * `LEDGER_FORKED`, `LEDGER_ORIGIN`.
   */
  static async open(directory: string, options: LedgerOptions): Promise<Ledger> {
    const files = (options.files ?? diskFiles)(directory)
    const log = verifierKey(options.origin, 'ed25519', options.signer.publicKey)
    const floor = options.floor ?? { size: 0, root: null }
    const state = await loadState(files, log)
    if (state === null && floor.size > 0)
      throw new LedgerError('LEDGER_ROLLED_BACK', `there is no ledger; it once had ${floor.size} entries`)
    if (state === null) throw new LedgerError('LEDGER_MISSING', 'the directory has no checkpoint')
    const witnessed = await loadWitnessed(files, options.witnesses ?? [])
    for (const known of [floor, ...witnessed.map(({ checkpoint }) => checkpoint)])
      await requireFloor(state, known)
    const ledger = new Ledger(options, files, log, state, witnessed)
    if (options.audit !== 'end') await ledger.audit()
    if (ledger.size === 0) await ledger.#begin()
    return ledger
  }

  /** Count of entries that are durable. */
  get size(): number {
    return this.#state.head.size
  }

  get head(): Checkpoint {
    return this.#state.head
  }

  /** The newest signed checkpoint, with the cosignatures that it has so far. */
  checkpoint(): string {
    const { head } = this.#state
    const witnessed = this.witnessed.filter(({ checkpoint }) => checkpoint.size === head.size)
    const others = head.signatures.filter(one => !witnessed.some(({ witness }) => isBy(one, witness)))
    return formatCheckpoint({
      ...head,
      signatures: [...others, ...witnessed.map(({ signature }) => signature)],
    })
  }

  /** The newest tree of each witness that has cosigned one. */
  get witnessed(): readonly Witnessed[] {
    return [...this.#witnessed.values()]
  }

  /**
   * Appends in the order of the calls, several with one commit when they are made at once. When it resolves, the entries
   * are durable and signed, in a tree of `size`; when it rejects they are not recorded, except after `LEDGER_WRITE` and
   * `LEDGER_FULL`, where the size of the ledger tells.
   */
  async append(entries: readonly Entry[]): Promise<{ readonly index: number; readonly size: number }> {
    if (entries.length === 0 || entries.length > appendEntriesMax)
      throw new LedgerError(
        'LEDGER_LIMIT',
        `${entries.length} entries at once; expected 1 to ${appendEntriesMax}`,
      )
    if (entries.some(({ type }) => type === 'genesis'))
      throw new LedgerError('LEDGER_ENTRY_INVALID', 'a ledger has one genesis entry, its first')
    const leaves = entries.map(encodeReadable)
    const group = this.#groupWith(leaves.length)
    const before = group.leaves.length
    group.leaves.push(...leaves)
    const { index, size } = await group.done
    return { index: index + before, size }
  }

  /** Entries `[from, to)` of the ledger as it is now, read 256 at a time. */
  async *entries(from = 0, to = this.size): AsyncGenerator<LedgerEntry> {
    const { tree } = this.#state
    this.#requireRange(from, to)
    for (let at = from; at < to; ) {
      const bundle = await tree.bundle(Math.floor(at / tileWidth))
      for (const bytes of bundle.slice(at % tileWidth, (at % tileWidth) + to - at)) {
        yield { index: at, entry: parseEntry(bytes), bytes }
        at += 1
      }
    }
  }

  async root(size: number): Promise<Uint8Array> {
    this.#requireRange(0, size)
    return await rootOf(this.#state.tree, size)
  }

  /** That entry `index` is in the tree of the first `size` entries. */
  async inclusion(index: number, size = this.size): Promise<readonly Uint8Array[]> {
    this.#requireRange(index, size)
    return await inclusionProof(this.#state.tree, index, size)
  }

  /** That the tree of the first `to` entries continues that of the first `from`. */
  async consistency(from: number, to = this.size): Promise<readonly Uint8Array[]> {
    this.#requireRange(from, to)
    return await consistencyProof(this.#state.tree, from, to)
  }

  /**
   * Keeps a witness's line over the checkpoint of `size`, which may be older than the newest. Throws
   * `LEDGER_NOTE_INVALID` or `LEDGER_SIGNATURE`.
   */
  async addCosignature(untrustedLine: Untrusted<string>, size: number): Promise<Witnessed> {
    const checkpoint = { origin: this.head.origin, size, root: await this.root(size) }
    const cosignature = verifyCosignatureLine(untrustedLine, checkpoint, this.#options.witnesses ?? [])
    const file = witnessFile(cosignature.witness)
    const arrived = newest(this.#arrived.get(file), { ...cosignature, checkpoint })
    this.#arrived.set(file, arrived)
    return await this.#serially(() => this.#keep(file, this.#arrived.get(file) ?? arrived))
  }

  /** Reads every entry and every tile and proves them against the signed root. Throws `LEDGER_DAMAGED`. */
  async audit(): Promise<void> {
    const tree = new TileTree(this.#files, this.#state.edge) // trusts nothing that was proven before
    for (let first = 0; first < tree.size; first += tileWidth) await tree.bundle(first / tileWidth)
  }

  async #begin(): Promise<void> {
    const { origin, clock } = this.#options
    const genesis = encodeReadable({ type: 'genesis', time: clock.now(), origin })
    await this.#serially(() => this.#append([genesis]))
  }

  /** The group that waits, as long as there is room in it. */
  #groupWith(count: number): AppendGroup {
    if (this.#group !== null && this.#group.leaves.length + count <= appendEntriesMax) return this.#group
    const leaves: Uint8Array[] = []
    const done = this.#serially(() => {
      if (this.#group === group) this.#group = null
      return this.#append(leaves)
    }).finally(() => {
      if (this.#group === group) this.#group = null
    })
    const group = { leaves, done }
    this.#group = group
    return group
  }

  async #append(leaves: readonly Uint8Array[]): Promise<{ readonly index: number; readonly size: number }> {
    const { head, edge, tree } = this.#state
    const grown = grow(edge, leaves)
    const next = { origin: head.origin, size: grown.edge.size, root: edgeRoot(grown.edge) }
    const signed = await signCheckpoint(next, this.#options.signer)
    const batch = new DurableBatch(this.#files, this.#directories)
    await allDone([
      ...[...grown.files].map(([name, bytes]) => batch.add(name, bytes)),
      batch.prepare(checkpointFile, noteOf(signed)),
    ])
    await batch.settle()
    await batch.replace(checkpointFile) // the commit
    await batch.settle()
    this.#state = { head: signed, edge: grown.edge, tree: new TileTree(this.#files, grown.edge, tree) }
    await this.#removeSuperseded(head.size)
    return { index: head.size, size: signed.size }
  }

  /** One that came later may have been kept already, which says more. */
  async #keep(file: string, witnessed: Witnessed): Promise<Witnessed> {
    const known = this.#witnessed.get(file)
    if (known !== undefined && newest(known, witnessed) === known) return known
    await replace(new DurableBatch(this.#files, this.#directories), file, encodeWitnessed(witnessed))
    this.#witnessed.set(file, witnessed)
    return witnessed
  }

  /** One change after another, each on the state that the one before left. */
  #serially<T>(change: () => Promise<T>): Promise<T> {
    if (this.#waiting >= waitingMax)
      throw new LedgerError('LEDGER_BUSY', `${waitingMax} appends are waiting`, { retry: true })
    this.#waiting += 1
    const result = this.#last
      .then(() => this.#change(change))
      .catch(cause => {
        throw fileError(cause)
      })
      .finally(() => {
        this.#waiting -= 1
      })
    this.#last = result.catch(() => {})
    return result
  }

  async #change<T>(change: () => Promise<T>): Promise<T> {
    if (this.#uncertain) await this.#readBack()
    await this.#requireAlone()
    try {
      return await change()
    } catch (cause) {
      this.#uncertain = true
      this.#directories.clear()
      await this.#readBack().catch(() => {}) // or before the next change
      throw cause
    }
  }

  /** After a failure the disk says what was recorded: the old state or the new. */
  async #readBack(): Promise<void> {
    await this.#files.syncDirectory('.')
    const state = await loadState(this.#files, this.#log, this.#state.tree)
    if (state === null) throw new LedgerError('LEDGER_DAMAGED', 'the checkpoint has vanished')
    await requireFloor(state, this.head)
    this.#state = state
    this.#uncertain = false
  }

  /** Not a lock: it notices a second writer, which would otherwise fork the ledger, at its first append. */
  async #requireAlone(): Promise<void> {
    const found = await this.#files.read(checkpointFile, noteBytesMax)
    const expected = noteOf(this.#state.head)
    if (found?.parse(untrustedBytes => equalConstantTime(untrustedBytes, expected)) !== true)
      throw new LedgerError(
        'LEDGER_BUSY',
        'the checkpoint on disk is not the one that this process wrote last',
      )
  }

  /** The append is done by now, so what cannot be removed stays. */
  async #removeSuperseded(before: number): Promise<void> {
    const names = supersededTiles(before, this.size)
    await Promise.all(names.map(name => this.#files.remove(name).catch(() => {})))
  }

  #requireRange(from: number, to: number): void {
    if (!Number.isSafeInteger(from) || !Number.isSafeInteger(to) || from < 0 || to < from || to > this.size)
      throw new LedgerError('LEDGER_RANGE', `entries ${from} to ${to} of a ledger of ${this.size}`)
  }
}

async function replace(batch: DurableBatch, name: string, bytes: Uint8Array): Promise<void> {
  await batch.prepare(name, bytes)
  await batch.settle()
  await batch.replace(name)
  await batch.settle()
}

function noteOf(checkpoint: SignedCheckpoint): Uint8Array {
  return utf8(formatCheckpoint(checkpoint))
}

/** An entry that could not be read again would make the whole ledger unreadable. */
function encodeReadable(entry: Entry): Uint8Array {
  const bytes = encodeEntry(entry)
  parseEntry(bytes)
  return bytes
}

/** The first, unless the second is newer. */
function newest(known: Witnessed | undefined, other: Witnessed): Witnessed {
  if (known === undefined) return other
  const { size } = known.checkpoint
  const isKnownNewest =
    size > other.checkpoint.size || (size === other.checkpoint.size && known.time >= other.time)
  return isKnownNewest ? known : other
}
