import { type Envelope, requireKnownSigners, requireThreshold, requireType } from './envelope.ts'
import type { PublicKey } from './keys.ts'

/* Whose signatures an envelope still needs. */

export interface SignerGroup {
  readonly keys: readonly PublicKey[]
  readonly threshold: number
}

/** One file of a proposal, and what it needs: a root two groups, those of the root before and its own. */
export interface Demand {
  readonly file: string
  readonly envelope: Envelope
  readonly payloadType: string
  readonly groups: readonly SignerGroup[]
}

/** Each key of the groups once. */
export function keysOf({ groups }: Demand): readonly PublicKey[] {
  return [...new Map(groups.flatMap(({ keys }) => keys).map(key => [key.id, key])).values()]
}

export function hasSigned({ envelope }: Demand, { id }: PublicKey): boolean {
  return envelope.signatures.some(({ keyId }) => keyId === id)
}

/** What is missing where: how many more, and whose would count. Empty when all is there. */
export function missingOf(
  demand: Demand,
): readonly { readonly count: number; readonly of: readonly PublicKey[] }[] {
  return demand.groups
    .map(({ keys, threshold }) => {
      const of = keys.filter(key => !hasSigned(demand, key))
      return { count: threshold - (keys.length - of.length), of }
    })
    .filter(({ count }) => count > 0)
}

/** Throws a `SealError` for a signature that does not verify, or that nobody asked for; not for one that is missing. */
export function requireSound(demand: Demand): void {
  const { file, envelope, payloadType } = demand
  const expected = { what: file, payloadType, keys: keysOf(demand), threshold: 0 }
  requireKnownSigners(envelope, expected)
  requireThreshold(envelope, expected)
  requireType(envelope, expected)
}
