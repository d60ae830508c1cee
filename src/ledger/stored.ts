import { equalConstantTime, fromUtf8, toHex, utf8 } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { Untrusted } from '../base/untrusted.ts'
import {
  type Checkpoint,
  type Cosignature,
  checkpointBody,
  parseCheckpoint,
  type SignedCheckpoint,
  verifyCheckpoint,
  verifyCosignatures,
} from './checkpoint.ts'
import { LedgerError } from './errors.ts'
import { fileError, type LedgerFiles } from './files.ts'
import { formatNote, noteBytesMax, type VerifierKey } from './note.ts'
import { rootOf } from './proofs.ts'
import { readEdge, TileTree } from './tile-tree.ts'
import { edgeRoot, type TreeEdge } from './tiles.ts'

/*
 * What a ledger's directory holds beside its tiles: `checkpoint`, which alone says what is recorded, and
 * `witness/<key id>`, the newest checkpoint that each witness has cosigned.
 */

export const checkpointFile = 'checkpoint'

export interface LedgerState {
  readonly head: SignedCheckpoint
  readonly edge: TreeEdge
  readonly tree: TileTree
}

/** The newest tree that a witness has cosigned. */
export interface Witnessed extends Cosignature {
  readonly checkpoint: Checkpoint
}

export function witnessFile(witness: VerifierKey): string {
  return `witness/${toHex(witness.id)}`
}

/** A signed note of the witness, which reads without the checkpoint it was under. */
export function encodeWitnessed({ checkpoint, signature }: Witnessed): Uint8Array {
  return utf8(formatNote({ text: checkpointBody(checkpoint), signatures: [signature] }))
}

/** The signed state on disk, `null` when there is no checkpoint. Proves the edge; the rest is proven when it is read. */
export async function loadState(
  files: LedgerFiles,
  log: VerifierKey,
  before?: TileTree,
): Promise<LedgerState | null> {
  const untrustedNote = await readText(files, checkpointFile)
  if (untrustedNote === null) return null
  const head = verified(checkpointFile, () => verifyCheckpoint(untrustedNote, log))
  const edge = await readEdge(files, head.size)
  if (!equalConstantTime(edgeRoot(edge), head.root))
    throw damaged(`the tiles at the end of the tree are not those of the checkpoint of size ${head.size}`)
  return { head, edge, tree: new TileTree(files, edge, before) }
}

/** What the witnesses have cosigned, as far as this disk remembers. */
export async function loadWitnessed(
  files: LedgerFiles,
  witnesses: readonly VerifierKey[],
): Promise<readonly Witnessed[]> {
  const found: Witnessed[] = []
  for (const witness of witnesses) {
    const name = witnessFile(witness)
    const untrustedNote = await readText(files, name)
    if (untrustedNote === null) continue
    const checkpoint = verified(name, () => untrustedNote.parse(parseCheckpoint))
    const [cosignature] = verified(name, () => verifyCosignatures(checkpoint, [witness]))
    if (cosignature === undefined) throw damaged(`${name} has no cosignature of ${witness.name}`)
    const { origin, size, root } = checkpoint
    found.push({ ...cosignature, checkpoint: { origin, size, root } })
  }
  return found
}

/** A size, and its root if it is known, that a ledger once had. */
export interface LedgerFloor {
  readonly size: number
  readonly root: Uint8Array | null
}

/** Throws `LEDGER_ROLLED_BACK` or `LEDGER_FORKED` unless the state contains what was seen before. */
export async function requireFloor({ head, tree }: LedgerState, floor: LedgerFloor): Promise<void> {
  if (head.size < floor.size)
    throw new LedgerError(
      'LEDGER_ROLLED_BACK',
      `the ledger has ${head.size} entries; it once had ${floor.size}`,
    )
  if (floor.root !== null && !equalConstantTime(await rootOf(tree, floor.size), floor.root))
    throw new LedgerError(
      'LEDGER_FORKED',
      `the first ${floor.size} entries are not those that were seen before`,
    )
}

async function readText(files: LedgerFiles, name: string): Promise<Untrusted<string> | null> {
  const found = await files.read(name, noteBytesMax).catch(cause => {
    throw cause instanceof CodedError ? damaged(`${name} is too large`, cause) : fileError(cause)
  })
  return found === null ? null : new Untrusted(verified(name, () => found.parse(fromUtf8)))
}

/** On our own disk a fault is damage, whatever it would be in a message. */
function verified<T>(name: string, check: () => T): T {
  try {
    return check()
  } catch (cause) {
    if (!(cause instanceof CodedError) || cause.code === 'LEDGER_ORIGIN') throw cause
    throw damaged(`${name}: ${cause.message}`, cause)
  }
}

function damaged(message: string, cause?: unknown): LedgerError {
  return new LedgerError('LEDGER_DAMAGED', message, { cause })
}
