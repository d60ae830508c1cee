import { type VerifiedRoot, verifyRoots } from './chain.ts'
import { type Envelope, encodeEnvelope, parseEnvelope } from './envelope.ts'
import { SealError } from './errors.ts'
import { isWithin } from './paths.ts'
import type { RootPin } from './pin.ts'
import { encodeRole, rolePayloadType } from './role.ts'
import { contentRoles, encodeRoot, type Root, rootPayloadType } from './root.ts'
import { candidateRoot, type RootContent, readFirstRoot } from './root-candidate.ts'
import { encodeSnapshot, snapshotPayloadType } from './snapshot.ts'
import { roleFile, type StoreFiles } from './store-files.ts'
import { entryOf, type SealedConfiguration, verifyStore } from './verify.ts'

/* What the next version would be, decided before anyone is asked to sign. */

export interface SealRequest {
  /** What is sealed now; with a snapshot of `null` this is the first seal. */
  readonly installed: StoreFiles
  /** What root n + 1 is to say, if the root is to change. */
  readonly nextRoot: RootContent | null
  readonly pin: RootPin
  /** Every file of the next version, by path. */
  readonly files: ReadonlyMap<string, Uint8Array>
  readonly expires: Date
  /** The roles that are signed anew although nothing changed, for a later expiry. */
  readonly renew: 'all' | readonly string[]
  readonly now: Date
}

export interface SealPlan {
  readonly request: SealRequest
  /** The root of the next version. */
  readonly root: VerifiedRoot
  readonly present: SealedConfiguration | null
  readonly version: number
  /** The roles that get a new version, with their files. */
  readonly roles: ReadonlyMap<string, ReadonlyMap<string, Uint8Array>>
}

/** Throws `SEAL_UNCHANGED` when there is nothing to sign, `SEAL_PATH_REFUSED` for a file that no role may hold. */
export function planSeal(request: SealRequest): SealPlan {
  const { installed, pin, now } = request
  const present = installed.snapshot === null ? null : verifyStore(installed, pin, null, now)
  const root = nextRoot(request)
  const roles = new Map<string, ReadonlyMap<string, Uint8Array>>()
  // What nobody can sign any more has no end; what a holder has kept can be renewed beside it.
  const lasts = (role: string) => {
    const sealed = present?.roles.get(role)
    return present?.custody === 'discarded' && sealed !== undefined && sealed.expires > request.expires
  }
  const isRenewed = (role: string) => (request.renew === 'all' ? !lasts(role) : request.renew.includes(role))
  for (const [role, files] of filesByRole(request.files, root.root)) {
    const sealed = present?.roles.get(role)
    if (sealed === undefined || isRenewed(role) || sealed.expires <= now || !sameFiles(sealed.files, files))
      roles.set(role, files)
  }
  if (roles.size === 0 && request.nextRoot === null)
    throw new SealError('SEAL_UNCHANGED', 'the draft holds what is sealed already')
  return { request, root, present, version: (present?.version ?? 0) + 1, roles }
}

function nextRoot({ installed, nextRoot: content, pin }: SealRequest): VerifiedRoot {
  if (installed.snapshot === null) return readFirstRoot(installed, pin)
  const present = verifyRoots(installed.roots, pin)
  if (content === null) return present
  return candidateRoot({ ...content, version: present.root.version + 1, previous: present.digest })
}

/** The store that would result: what is new without a signature, what stays with those that count under the root. */
export function proposedFiles(plan: SealPlan): StoreFiles {
  const { request, root, present, version } = plan
  const { roots } = request.installed
  const isNew = !roots.has(root.root.version)
  const roles = new Map(contentRoles(root.root).map(name => [name, proposedRole(plan, name)]))
  const payload = encodeSnapshot({
    version,
    previous: present?.digest ?? null,
    expires: request.expires,
    root: { version: root.root.version, digest: root.digest, bytes: root.bytes },
    roles: new Map(
      [...roles].map(([name, { version: of, envelope }]) => [name, entryOf(of, envelope.payload)]),
    ),
  })
  return {
    roots: isNew
      ? new Map([...roots, [root.root.version, unsigned(rootPayloadType, encodeRoot(root.root))]])
      : roots,
    snapshot: unsigned(snapshotPayloadType, payload),
    roles: new Map([...roles].map(([name, { envelope }]) => [name, encodeEnvelope(envelope)])),
  }
}

function proposedRole(
  { request, root: { root }, present, roles }: SealPlan,
  name: string,
): { version: number; envelope: Envelope } {
  const before = present?.roles.get(name)
  const files = roles.get(name)
  const installed = request.installed.roles.get(name)
  if (files === undefined && before !== undefined && installed !== undefined) {
    const envelope = parseEnvelope(installed, roleFile(name))
    const keys = root.roles.get(name)?.keys ?? []
    const signatures = envelope.signatures.filter(({ keyId }) => keys.includes(keyId))
    return { version: before.version, envelope: { ...envelope, signatures } }
  }
  const version = (before?.version ?? 0) + 1
  const payload = encodeRole({
    role: name,
    version,
    previous: before?.digest ?? null,
    expires: request.expires,
    files: files ?? new Map(),
  })
  return { version, envelope: { payloadType: rolePayloadType, payload, signatures: [] } }
}

function unsigned(payloadType: string, payload: Uint8Array): Uint8Array {
  return encodeEnvelope({ payloadType, payload, signatures: [] })
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
