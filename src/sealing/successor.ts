import type { Digest } from '../base/names.ts'
import { SealError } from './errors.ts'
import type { RootPin } from './pin.ts'
import { roleFile, type StoreFiles, snapshotFile, versionAndDigest } from './store-files.ts'
import { applyUpdate } from './update.ts'
import { type SealedConfiguration, verifyStore } from './verify.ts'

/* Whether an update may follow the installed store; pure. */

export interface AdmittedUpdate {
  readonly files: StoreFiles
  readonly configuration: SealedConfiguration
}

/** The store after an update: verified as a whole, the next version and no other, and not expired. Throws a `SealError`. */
export function verifyUpdate(
  installed: StoreFiles,
  untrustedUpdate: StoreFiles,
  pin: RootPin,
  now: Date,
): AdmittedUpdate {
  const present = verifyStore(installed, pin, null, now)
  const files = applyUpdate(installed, untrustedUpdate, pin)
  const configuration = verifyStore(files, pin, null, now)
  requireSuccessor(present, configuration)
  requireUnexpired(configuration)
  return { files, configuration }
}

/**
 * Refuses every version but the next: the snapshot's is one more and names the present one, and each role is the same
 * or one more and names the present one. The chain of roots has been checked from the pin.
 */
export function requireSuccessor(installed: SealedConfiguration, next: SealedConfiguration): void {
  if (next.version === installed.version && next.digest === installed.digest)
    throw new SealError(
      'SEAL_INSTALLED',
      `${versionAndDigest(next.version, next.digest)} is in force already`,
    )
  requireNext(installed, next, snapshotFile)
  for (const [name, role] of next.roles) {
    const before = installed.roles.get(name)
    if (before !== undefined && before.digest !== role.digest) requireNext(before, role, roleFile(name))
  }
  if (next.root.version < installed.root.version)
    throw new SealError(
      'SEAL_ROLLBACK',
      `the root went from version ${installed.root.version} to ${next.root.version}`,
    )
}

/** An update that expired on its way is refused: it may have been held back. */
export function requireUnexpired({ version, expires, expired }: SealedConfiguration): void {
  if (expired)
    throw new SealError('SEAL_EXPIRED', `version ${version} of the store expired at ${expires.toISOString()}`)
}

interface Versioned {
  readonly version: number
  readonly digest: Digest
}

function requireNext(
  before: Versioned,
  next: Versioned & { readonly previous: Digest | null },
  what: string,
): void {
  const found = versionAndDigest(next.version, next.digest)
  const present = versionAndDigest(before.version, before.digest)
  if (next.version < before.version)
    throw new SealError('SEAL_ROLLBACK', `${what}: found ${found}; ${present} is in force`)
  if (next.version === before.version)
    throw new SealError('SEAL_FORKED', `${what}: found ${found}; ${present} is in force, with other content`)
  if (next.version > before.version + 1)
    throw new SealError(
      'SEAL_SKIPPED',
      `${what}: found ${found}; ${present} is in force, so the next is ${before.version + 1}`,
    )
  if (next.previous !== before.digest)
    throw new SealError(
      'SEAL_PREVIOUS_WRONG',
      `${what}: ${found} does not name ${present} as the one before it`,
    )
}
