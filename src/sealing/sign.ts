import type { Digest } from '../base/names.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type VerifiedRoot, verifyNextRoot, verifyRoots } from './chain.ts'
import { SealError } from './errors.ts'
import type { PublicKey } from './keys.ts'
import { isWithin } from './paths.ts'
import type { RootPin } from './pin.ts'
import { encodeRole, rolePayloadType } from './role.ts'
import { contentRoles, encodeRoot, keysOfRole, type Root, rootPayloadType, thresholdOfRole } from './root.ts'
import { type SealSigner, signPayload } from './signer.ts'
import { encodeSnapshot, type SnapshotEntry, snapshotPayloadType } from './snapshot.ts'
import { roleFile, rootFile, type StoreFiles, snapshotFile } from './store-files.ts'
import { requireSuccessor, requireUnexpired } from './successor.ts'
import { changedFiles, encodeUpdate } from './update.ts'
import { type SealedConfiguration, verifyStore } from './verify.ts'

/* The private half: makes roots, role versions and snapshots. Everything made here is verified before it is given out. */

/** The first root's envelope, signed by `signers` for the role `root`. */
export async function signFirstRoot(
  root: Omit<Root, 'version' | 'previous'>,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const first: Root = { ...root, version: 1, previous: null }
  const bytes = await signRoot(
    first,
    keysOfRole(first, 'root'),
    thresholdOfRole(first, 'root'),
    signers,
    signal,
  )
  verifyRoots(new Map([[1, bytes]]), { version: 1, digest: sha256Hex(bytes) })
  return bytes
}

/** Root n + 1, which holders of n and of n + 1 sign: both thresholds must be at hand. */
export async function signNextRoot(
  present: VerifiedRoot,
  next: Omit<Root, 'version' | 'previous'>,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const root: Root = { ...next, version: present.root.version + 1, previous: present.digest }
  const keys = new Map(
    [...keysOfRole(present.root, 'root'), ...keysOfRole(root, 'root')].map(key => [key.id, key]),
  )
  const threshold = Math.max(thresholdOfRole(present.root, 'root'), thresholdOfRole(root, 'root'))
  const bytes = await signRoot(root, [...keys.values()], threshold, signers, signal)
  verifyNextRoot(bytes, present)
  return bytes
}

async function signRoot(
  root: Root,
  keys: readonly PublicKey[],
  threshold: number,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const what = rootFile(root.version)
  const signed = { what, payloadType: rootPayloadType, payload: encodeRoot(root) }
  return await signPayload(signed, { keys, threshold }, signers, signal)
}

export interface SealRequest {
  /** What is sealed now; with a snapshot of `null` this is the first seal. */
  readonly installed: StoreFiles
  /** Root n + 1, if the root is to change; then every role is signed anew under it. */
  readonly nextRoot: Uint8Array | null
  readonly pin: RootPin
  /** Every file of the next version, by path. */
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly expires: Date
  /** Signs every role anew, for a later expiry. */
  readonly renew: boolean
  readonly now: Date
}

/** What would be signed, decided before anyone is asked to sign. */
export interface SealPlan {
  readonly request: SealRequest
  readonly roots: ReadonlyMap<number, Uint8Array>
  readonly root: VerifiedRoot
  readonly present: SealedConfiguration | null
  readonly version: number
  /** The roles that get a new version, with their files. */
  readonly roles: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>
}

/** Throws `SEAL_UNCHANGED` when there is nothing to sign, `SEAL_PATH_REFUSED` for a file that no role may hold. */
export function planSeal(request: SealRequest): SealPlan {
  const { installed, nextRoot, pin, now } = request
  const present = installed.snapshot === null ? null : verifyStore(installed, pin, null, now)
  const roots = rootsAfter(installed, nextRoot)
  const root = verifyRoots(roots, pin)
  const everyRole = request.renew || nextRoot !== null
  const roles = new Map<string, ReadonlyMap<string, Uint8Array>>()
  for (const [role, files] of filesByRole(request.files, root.root)) {
    const sealed = present?.roles.get(role)
    if (sealed === undefined || everyRole || sealed.expires <= now || !sameFiles(sealed.files, files))
      roles.set(role, files)
  }
  if (roles.size === 0) throw new SealError('SEAL_UNCHANGED', 'the draft holds what is sealed already')
  return { request, roots, root, present, version: (present?.version ?? 0) + 1, roles }
}

function rootsAfter({ roots }: StoreFiles, nextRoot: Uint8Array | null): ReadonlyMap<number, Uint8Array> {
  return nextRoot === null ? roots : new Map([...roots, [Math.max(...roots.keys()) + 1, nextRoot]])
}

export interface SealedUpdate {
  readonly files: StoreFiles
  readonly configuration: SealedConfiguration
  /** The files that changed, for the machines that have the version before. */
  readonly update: Uint8Array
}

/** Signs the planned roles and a snapshot over all. */
export async function signPlan(
  plan: SealPlan,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<SealedUpdate> {
  const { installed, pin, now } = plan.request
  const roles = new Map<string, Uint8Array>()
  const entries = new Map<string, SnapshotEntry>()
  for (const name of contentRoles(plan.root.root)) {
    const { bytes, version } = await roleVersion(plan, name, signers, signal)
    roles.set(name, bytes)
    entries.set(name, { version, digest: sha256Hex(bytes), bytes: bytes.byteLength })
  }
  const snapshot = await signSnapshot(plan, entries, signers, signal)
  const files: StoreFiles = { roots: plan.roots, snapshot, roles }
  const configuration = verifyStore(files, pin, null, now)
  requireUnexpired(configuration)
  if (plan.present !== null) requireSuccessor(plan.present, configuration)
  return {
    files,
    configuration,
    update: encodeUpdate(plan.present === null ? files : changedFiles(installed, files)),
  }
}

async function roleVersion(
  { request, root: { root }, present, roles }: SealPlan,
  name: string,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<{ bytes: Uint8Array; version: number }> {
  const before = present?.roles.get(name)
  const files = roles.get(name)
  const unchanged = request.installed.roles.get(name)
  if (files === undefined && before !== undefined && unchanged !== undefined)
    return { bytes: unchanged, version: before.version }
  const version = (before?.version ?? 0) + 1
  const payload = encodeRole({
    role: name,
    version,
    previous: before?.digest ?? null,
    expires: request.expires,
    files: files ?? new Map(),
  })
  const bytes = await signPayload(
    { what: roleFile(name), payloadType: rolePayloadType, payload },
    { keys: keysOfRole(root, name), threshold: thresholdOfRole(root, name) },
    signers,
    signal,
  )
  return { bytes, version }
}

async function signSnapshot(
  { request, root, present, version }: SealPlan,
  roles: ReadonlyMap<string, SnapshotEntry>,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const previous: Digest | null = present?.digest ?? null
  const named = { version: root.root.version, digest: root.digest, bytes: root.bytes }
  const payload = encodeSnapshot({ version, previous, expires: request.expires, root: named, roles })
  return await signPayload(
    { what: snapshotFile, payloadType: snapshotPayloadType, payload },
    { keys: keysOfRole(root.root, 'snapshot'), threshold: thresholdOfRole(root.root, 'snapshot') },
    signers,
    signal,
  )
}

function filesByRole(
  files: ReadonlyMap<string, Uint8Array>,
  root: Root,
): ReadonlyMap<string, ReadonlyMap<string, Uint8Array>> {
  const roles = new Map(contentRoles(root).map(role => [role, new Map<string, Uint8Array>()]))
  for (const [path, bytes] of files) {
    const role = [...roles.keys()].find(name => isWithin(path, root.roles.get(name)?.paths ?? []))
    if (role === undefined) throw new SealError('SEAL_PATH_REFUSED', `no role of the root may hold '${path}'`)
    roles.get(role)?.set(path, bytes)
  }
  return roles
}

function sameFiles(one: ReadonlyMap<string, Uint8Array>, other: ReadonlyMap<string, Uint8Array>): boolean {
  return (
    one.size === other.size &&
    [...one].every(([path, bytes]) => {
      const twin = other.get(path)
      return twin !== undefined && Buffer.compare(bytes, twin) === 0
    })
  )
}
