import { utf8 } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { ObjectReference } from './format.ts'

/** What the ledger keeps of a job's packs, whose ids would not fit into an entry. */
export interface PacksSummary {
  readonly count: number
  readonly bytes: number
  /** SHA-256 over the sorted lines `<id> <bytes>\n`. */
  readonly root: Digest
}

export function summarisePacks(packs: readonly ObjectReference[]): PacksSummary {
  const lines = packs.map(({ id, bytes }) => `${id} ${bytes}\n`).sort()
  return {
    count: packs.length,
    bytes: packs.reduce((sum, pack) => sum + pack.bytes, 0),
    root: sha256Hex(utf8(lines.join(''))),
  }
}
