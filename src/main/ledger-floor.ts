import path from 'node:path'
import { CodedError } from '../base/errors.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import type { Checkpoint } from '../ledger/checkpoint.ts'
import { LedgerError } from '../ledger/errors.ts'
import type { LedgerFloor } from '../ledger/stored.ts'
import { encodeWitnessState, parseWitnessState } from '../ledger/witness.ts'

/*
 * `ledger-floor.json`: the newest head of dom0's ledger, remembered beside the ledger's own directory, so that a ledger
 * that was lost or put back alone does not open as if nothing had been. A disk that was wholly put back is noticed by
 * the witnesses.
 */

const floorBytesMax = 1024

export function ledgerFloorFile(home: string): string {
  return path.join(home, 'ledger-floor.json')
}

/** Size 0 where nothing is remembered. Throws `LEDGER_DAMAGED`. */
export async function readLedgerFloor(home: string): Promise<LedgerFloor> {
  try {
    const untrustedBytes = await readBounded(ledgerFloorFile(home), floorBytesMax)
    return untrustedBytes?.parse(parseWitnessState) ?? { size: 0, root: null }
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw new LedgerError('LEDGER_DAMAGED', `ledger-floor.json does not read: ${cause.message}`, { cause })
  }
}

/** Durable when it resolves. */
export async function rememberLedgerHead(home: string, head: Checkpoint): Promise<void> {
  await writeDurably(ledgerFloorFile(home), encodeWitnessState(head))
}
