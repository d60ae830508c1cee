import type { Checkpoint } from './checkpoint.ts'
import type { LedgerCopy } from './copies.ts'
import { LedgerError } from './errors.ts'
import { diskFiles, fileError } from './files.ts'
import type { VerifierKey } from './note.ts'
import { rootOf } from './proofs.ts'
import { loadState } from './stored.ts'
import { tileWidth } from './tiles.ts'

/** A ledger's directory that is only read, wherever it came from: what is read of it is proven by its signed checkpoint. */
export interface CopyOnDisk extends LedgerCopy {
  readonly head: Checkpoint
  /** `undefined` at its end. */
  entry(index: number): Promise<Uint8Array | undefined>
}

/** Throws `LEDGER_MISSING`, `LEDGER_DAMAGED`, `LEDGER_ORIGIN`, `LEDGER_WRITE`. */
export async function openCopy(directory: string, key: VerifierKey): Promise<CopyOnDisk> {
  const state = await loadState(diskFiles(directory), key).catch(cause => {
    throw fileError(cause)
  })
  if (state === null)
    throw new LedgerError('LEDGER_MISSING', 'there is no checkpoint in that directory', {
      hint: 'name the directory of a copy of the ledger: the one that has a file `checkpoint`',
    })
  const { head, tree } = state
  return {
    head,
    size: head.size,
    root: size => rootOf(tree, size),
    async entry(index) {
      if (index >= head.size) return undefined
      return (await tree.bundle(Math.floor(index / tileWidth)))[index % tileWidth]
    },
  }
}
