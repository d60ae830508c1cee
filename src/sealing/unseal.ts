import { utf8 } from '../base/bytes.ts'
import { fields, is } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { verifyRoots } from './chain.ts'
import { verifyEnvelope } from './envelope.ts'
import { SealError } from './errors.ts'
import { parsePayload } from './payload.ts'
import type { RootPin } from './pin.ts'
import { keysOfRole, ownerRole, thresholdOfRole } from './root.ts'
import type { StoreFiles } from './store-files.ts'

/*
 * The owner's way out: a statement by the owner key that machines under this root shall trust another one. It changes nothing of
 * what is sealed, and opens nothing: a machine that follows it is no longer in the state that others sealed, and its attestation
 * says so.
 */

export const unsealPayloadType = 'application/vnd.strongroom.unseal+json'

export interface Unsealing {
  /** The newest root, which the owner key is in. */
  readonly root: Digest
  /** What is to be trusted instead. */
  readonly next: RootPin
}

const shape = fields('unseal', {
  v: is.literal(1),
  type: is.literal('unseal'),
  root: is.name(parseDigest),
  next: fields('next', { version: is.integer(1), digest: is.name(parseDigest) }),
})

export function encodeUnsealing({ root, next }: Unsealing): Uint8Array {
  return utf8(JSON.stringify({ v: 1, type: 'unseal', root, next }))
}

/** The pin that the owner of a verified store wants. Throws `SEAL_UNSEAL_REFUSED`, or what is wrong with the envelope. */
export function verifyUnsealing(untrustedBytes: Uint8Array, { roots }: StoreFiles, pin: RootPin): RootPin {
  const trusted = verifyRoots(roots, pin)
  if (!trusted.root.roles.has(ownerRole))
    throw new SealError('SEAL_UNSEAL_REFUSED', 'the root of this machine has no owner key')
  const what = 'unseal statement'
  const payload = verifyEnvelope(untrustedBytes, {
    what,
    payloadType: unsealPayloadType,
    keys: keysOfRole(trusted.root, ownerRole),
    threshold: thresholdOfRole(trusted.root, ownerRole),
  })
  const { root, next } = parsePayload(payload, what, shape)
  if (root !== trusted.digest)
    throw new SealError('SEAL_UNSEAL_REFUSED', 'the statement is about another root than this machine has')
  return next
}
