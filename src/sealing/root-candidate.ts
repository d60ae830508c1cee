import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { requireNextRoot, requirePinnedRoot, type VerifiedRoot } from './chain.ts'
import { type Envelope, encodeEnvelope, parseEnvelope } from './envelope.ts'
import { SealError } from './errors.ts'
import type { RootPin } from './pin.ts'
import { encodeRoot, keysOfRole, parseRoot, type Root, rootPayloadType } from './root.ts'
import { addSignature, type SealSigner } from './signer.ts'
import { rootFile, type StoreFiles } from './store-files.ts'

/* Roots that are still to be signed: everything about them is checked, except that enough have signed. */

export type RootContent = Omit<Root, 'version' | 'previous'>

export function candidateRoot(root: Root): VerifiedRoot {
  const payload = encodeRoot(root)
  return { root, digest: sha256Hex(payload), bytes: payload.byteLength }
}

/** The pinned root of a store under which nothing has been sealed yet. */
export function readFirstRoot({ roots }: StoreFiles, pin: RootPin): VerifiedRoot {
  const bytes = roots.get(pin.version)
  if (bytes === undefined)
    throw new SealError('SEAL_ROOT_UNPINNED', `the store has no ${rootFile(pin.version)}, which is pinned`)
  return requirePinnedRoot(parseEnvelope(bytes, rootFile(pin.version)).payload, pin)
}

/** Root n + 1 of a proposal. */
export function readNextRoot(untrustedBytes: Uint8Array, trusted: VerifiedRoot): VerifiedRoot {
  const what = rootFile(trusted.root.version + 1)
  const { payload } = parseEnvelope(untrustedBytes, what)
  return requireNextRoot(parseRoot(payload, what), payload, trusted)
}

/** The first root's envelope, with the signatures of those `signers` who count. Others may sign it later, as part of a proposal. */
export async function signFirstRoot(
  content: RootContent,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<{ readonly bytes: Uint8Array; readonly digest: Digest }> {
  const { root, digest } = candidateRoot({ ...content, version: 1, previous: null })
  let envelope: Envelope = { payloadType: rootPayloadType, payload: encodeRoot(root), signatures: [] }
  for (const key of keysOfRole(root, 'root')) {
    const signer = signers.find(({ keyId }) => keyId === key.id)
    if (signer !== undefined) envelope = await addSignature(envelope, key, signer, rootFile(1), signal)
  }
  return { bytes: encodeEnvelope(envelope), digest }
}
