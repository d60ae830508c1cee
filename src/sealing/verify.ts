import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type VerifiedRoot, verifyRoots } from './chain.ts'
import { type Expectation, verifyEnvelope } from './envelope.ts'
import { SealError } from './errors.ts'
import type { Floor } from './floor.ts'
import type { RootPin } from './pin.ts'
import { parseRole, rolePayloadType, type SealedRole } from './role.ts'
import { type Custody, contentRoles, keysOfRole, type Root, thresholdOfRole } from './root.ts'
import { parseSnapshot, type Snapshot, type SnapshotEntry, snapshotPayloadType } from './snapshot.ts'
import { roleFile, rootFile, type StoreFiles, snapshotFile, versionAndDigest } from './store-files.ts'

/* The public half: pure, without a file and without a key that could sign. */

/** What has been verified from the pin to the last byte. */
export interface SealedConfiguration {
  readonly version: number
  /** SHA-256 of the snapshot's payload: names all of it. */
  readonly digest: Digest
  readonly previous: Digest | null
  /** The earliest expiry of the root, the snapshot and the roles. */
  readonly expires: Date
  /** An expired store stays in force and accepts no update that has expired itself; it is an alarm. */
  readonly expired: boolean
  readonly custody: Custody
  readonly root: Root
  readonly rootDigest: Digest
  readonly roles: ReadonlyMap<string, SealedRole & { readonly digest: Digest }>
  readonly files: ReadonlyMap<string, Uint8Array>
}

/**
 * Verifies a whole store: roots from the pin, the snapshot, then each role, every one by size, signatures, threshold
 * and type before it is parsed. `floor` is the newest version seen before, if any. Throws a `SealError`.
 */
export function verifyStore(
  files: StoreFiles,
  pin: RootPin,
  floor: Floor | null,
  now: Date,
): SealedConfiguration {
  return readStore(files, verifyRoots(files.roots, pin), { open: verifyEnvelope, floor, now })
}

/** How what is below the root is read. */
export interface Reading {
  /** Gives an envelope's payload, or throws. All that is ever acted on is opened by `verifyEnvelope`. */
  readonly open: (untrustedBytes: Uint8Array, expected: Expectation) => Uint8Array
  readonly floor: Floor | null
  readonly now: Date
}

/** The snapshot and the roles under a root that has been verified. Throws a `SealError`. */
export function readStore(
  files: StoreFiles,
  root: VerifiedRoot,
  { open, floor, now }: Reading,
): SealedConfiguration {
  const snapshot = readSnapshot(files, root, open)
  requireFloor(snapshot, root, floor)
  const roles = new Map<string, SealedRole & { digest: Digest }>()
  for (const name of contentRoles(root.root))
    roles.set(name, readRole(name, files, root.root, snapshot.snapshot, open))
  for (const name of files.roles.keys())
    if (!roles.has(name))
      throw new SealError('SEAL_FILE_UNEXPECTED', `${roleFile(name)}: the root has no such role`)
  const expires = earliest([root.root, snapshot.snapshot, ...roles.values()])
  return {
    version: snapshot.snapshot.version,
    digest: snapshot.digest,
    previous: snapshot.snapshot.previous,
    expires,
    expired: expires.getTime() <= now.getTime(),
    custody: root.root.custody,
    root: root.root,
    rootDigest: root.digest,
    roles,
    // The limits of the roles do not overlap, so no path occurs twice.
    files: new Map([...roles.values()].flatMap(role => [...role.files])),
  }
}

interface VerifiedSnapshot {
  readonly snapshot: Snapshot
  readonly digest: Digest
}

function readSnapshot(
  files: StoreFiles,
  { root, digest, bytes }: VerifiedRoot,
  open: Reading['open'],
): VerifiedSnapshot {
  if (files.snapshot === null)
    throw new SealError('SEAL_EMPTY', 'the store holds a root and nothing sealed under it')
  const payload = open(files.snapshot, {
    what: snapshotFile,
    payloadType: snapshotPayloadType,
    keys: keysOfRole(root, 'snapshot'),
    threshold: thresholdOfRole(root, 'snapshot'),
  })
  const snapshot = parseSnapshot(payload, snapshotFile)
  requireNamed(snapshot.root, { version: root.version, digest, bytes }, rootFile(root.version))
  const expected = contentRoles(root)
  const found = [...snapshot.roles.keys()].sort()
  if (expected.join() !== found.join())
    throw new SealError(
      'SEAL_MIXED',
      `${snapshotFile}: it names the roles ${found.join(', ')}; the root has ${expected.join(', ')}`,
    )
  return { snapshot, digest: sha256Hex(payload) }
}

function readRole(
  name: string,
  files: StoreFiles,
  root: Root,
  snapshot: Snapshot,
  open: Reading['open'],
): SealedRole & { digest: Digest } {
  const what = roleFile(name)
  const untrustedBytes = files.roles.get(name)
  const entry = snapshot.roles.get(name)
  if (untrustedBytes === undefined || entry === undefined)
    throw new SealError('SEAL_FILE_MISSING', `${what} is not in the store`)
  const payload = open(untrustedBytes, {
    what,
    payloadType: rolePayloadType,
    keys: keysOfRole(root, name),
    threshold: thresholdOfRole(root, name),
  })
  const role = parseRole(payload, name, root.roles.get(name)?.paths ?? [], what)
  const found = entryOf(role.version, payload)
  requireNamed(entry, found, what)
  return { ...role, digest: found.digest }
}

/** As a snapshot names a file. */
export function entryOf(version: number, payload: Uint8Array): SnapshotEntry {
  return { version, digest: sha256Hex(payload), bytes: payload.byteLength }
}

function requireNamed(named: SnapshotEntry, found: SnapshotEntry, what: string): void {
  if (named.digest === found.digest && named.version === found.version && named.bytes === found.bytes) return
  throw new SealError(
    'SEAL_MIXED',
    `${what}: found ${versionAndDigest(found.version, found.digest)}; the snapshot names ${versionAndDigest(named.version, named.digest)}`,
  )
}

function requireFloor(
  { snapshot, digest }: VerifiedSnapshot,
  { root }: VerifiedRoot,
  floor: Floor | null,
): void {
  if (floor === null) return
  if (snapshot.version < floor.version)
    throw new SealError(
      'SEAL_ROLLBACK',
      `${snapshotFile}: found ${versionAndDigest(snapshot.version, digest)}; ${versionAndDigest(floor.version, floor.digest)} was in force before`,
    )
  if (snapshot.version === floor.version && digest !== floor.digest)
    throw new SealError(
      'SEAL_FORKED',
      `${snapshotFile}: version ${snapshot.version} has digest ${digest}; with digest ${floor.digest} it was in force before`,
    )
  if (root.version < floor.rootVersion)
    throw new SealError(
      'SEAL_ROLLBACK',
      `${rootFile(root.version)}: root version ${floor.rootVersion} was in force before`,
    )
}

function earliest(parts: readonly { readonly expires: Date }[]): Date {
  return new Date(Math.min(...parts.map(part => part.expires.getTime())))
}

export function floorOf({ version, digest, root }: SealedConfiguration): Floor {
  return { version, digest, rootVersion: root.version }
}
