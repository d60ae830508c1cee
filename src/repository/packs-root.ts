import { utf8 } from '../base/bytes.ts'
import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import type { ObjectHead } from '../storage/object-store.ts'
import type { ObjectReference } from './format.ts'

/** What the ledger keeps of a job's packs, whose ids would not fit into an entry. */
export interface PacksSummary {
  readonly count: number
  readonly bytes: number
  /** SHA-256 over the sorted lines `<id> <bytes>\n`. */
  readonly root: Digest
}

export function summarisePacks(packs: readonly ObjectReference[]): PacksSummary {
  return summarise(packs.map(({ id, bytes }) => ({ name: id, bytes })))
}

/** Of objects of several kinds, with lines `<kind>/<id> <bytes>\n`. */
export function summariseObjects(objects: readonly ObjectHead[]): PacksSummary {
  return summarise(objects)
}

function summarise(objects: readonly { readonly name: string; readonly bytes: number }[]): PacksSummary {
  const lines = objects.map(({ name, bytes }) => `${name} ${bytes}\n`).sort()
  return {
    count: objects.length,
    bytes: objects.reduce((sum, { bytes }) => sum + bytes, 0),
    root: sha256Hex(utf8(lines.join(''))),
  }
}
