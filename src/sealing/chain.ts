import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import {
  type Expectation,
  parseEnvelope,
  requireKnownSigners,
  requireThreshold,
  requireType,
  verifyEnvelope,
} from './envelope.ts'
import { SealError } from './errors.ts'
import type { RootPin } from './pin.ts'
import { keysOfRole, parseRoot, type Root, rootPayloadType, thresholdOfRole } from './root.ts'
import { rootFile } from './store-files.ts'

export interface VerifiedRoot {
  readonly root: Root
  /** Of the payload, as is its length. */
  readonly digest: Digest
  readonly bytes: number
}

/** Walks from the pinned root to the newest, TUF 1.0.33 section 5.3. Expiry of a root on the way does not matter. */
export function verifyRoots(roots: ReadonlyMap<number, Uint8Array>, pin: RootPin): VerifiedRoot {
  const versions = [...roots.keys()].sort((one, other) => one - other)
  const pinned = roots.get(pin.version)
  if (versions[0] !== pin.version || pinned === undefined)
    throw new SealError('SEAL_ROOT_UNPINNED', `the store has no ${rootFile(pin.version)}, which is pinned`)
  let trusted = verifyPinned(pinned, pin)
  for (const version of versions.slice(1)) {
    if (version !== trusted.root.version + 1)
      throw new SealError('SEAL_ROOT_CHAIN', `${rootFile(trusted.root.version + 1)} is missing`)
    trusted = verifyNextRoot(roots.get(version) ?? new Uint8Array(), trusted)
  }
  return trusted
}

function verifyPinned(untrustedBytes: Uint8Array, pin: RootPin): VerifiedRoot {
  const what = rootFile(pin.version)
  const pinned = requirePinnedRoot(parseEnvelope(untrustedBytes, what).payload, pin)
  // The payload is the one that was pinned; its signatures prove that the holders have their keys.
  verifyEnvelope(untrustedBytes, expectation(pinned.root, what))
  return pinned
}

/** Compares with the pin before anything is parsed. */
export function requirePinnedRoot(untrustedPayload: Uint8Array, pin: RootPin): VerifiedRoot {
  const what = rootFile(pin.version)
  const digest = sha256Hex(untrustedPayload)
  if (digest !== pin.digest)
    throw new SealError('SEAL_ROOT_UNPINNED', `${what}: found digest ${digest}, pinned is ${pin.digest}`)
  const root = parseRoot(untrustedPayload, what)
  requireVersion(root, pin.version, what)
  return { root, digest, bytes: untrustedPayload.byteLength }
}

/**
 * Root n + 1: signed by the threshold of n before anything in it is parsed, then by its own; nobody else's signature
 * may be on it.
 */
function verifyNextRoot(untrustedBytes: Uint8Array, trusted: VerifiedRoot): VerifiedRoot {
  const what = rootFile(trusted.root.version + 1)
  const before = expectation(trusted.root, what)
  const envelope = parseEnvelope(untrustedBytes, what)
  requireThreshold(envelope, before)
  requireType(envelope, before)
  const root = parseRoot(envelope.payload, what)
  const after = expectation(root, what)
  requireThreshold(envelope, after)
  requireKnownSigners(envelope, { ...after, keys: [...before.keys, ...after.keys] })
  return requireNextRoot(root, envelope.payload, trusted)
}

/** That a root follows another: the next version, naming it. */
export function requireNextRoot(root: Root, payload: Uint8Array, trusted: VerifiedRoot): VerifiedRoot {
  const what = rootFile(trusted.root.version + 1)
  requireVersion(root, trusted.root.version + 1, what)
  if (root.previous !== trusted.digest)
    throw new SealError(
      'SEAL_ROOT_CHAIN',
      `${what}: it does not name ${rootFile(trusted.root.version)} as the one before`,
    )
  return { root, digest: sha256Hex(payload), bytes: payload.byteLength }
}

function requireVersion(root: Root, expected: number, what: string): void {
  if (root.version !== expected)
    throw new SealError('SEAL_ROOT_CHAIN', `${what}: found version ${root.version}, expected ${expected}`)
}

function expectation(root: Root, what: string): Expectation {
  return {
    what,
    payloadType: rootPayloadType,
    keys: keysOfRole(root, 'root'),
    threshold: thresholdOfRole(root, 'root'),
  }
}
