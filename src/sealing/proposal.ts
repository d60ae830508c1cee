import type { VerifiedRoot } from './chain.ts'
import { verifyRoots } from './chain.ts'
import { type Demand, hasSigned, keysOf, missingOf, requireSound } from './demand.ts'
import {
  type Envelope,
  type Expectation,
  encodeEnvelope,
  parseEnvelope,
  requireKnownSigners,
  requireThreshold,
  requireType,
} from './envelope.ts'
import { SealError } from './errors.ts'
import type { RootPin } from './pin.ts'
import { rolePayloadType } from './role.ts'
import { contentRoles, keysOfRole, type Root, rootPayloadType, thresholdOfRole } from './root.ts'
import { readFirstRoot, readNextRoot } from './root-candidate.ts'
import { addSignature, type SealSigner } from './signer.ts'
import { snapshotPayloadType } from './snapshot.ts'
import { namedFiles, roleFile, rootFile, type StoreFiles, snapshotFile, storeFiles } from './store-files.ts'
import { requireSuccessor, requireUnexpired } from './successor.ts'
import { changedFiles, requireInstalledRoots } from './update.ts'
import { readStore, type SealedConfiguration, verifyStore } from './verify.ts'

/*
 * A proposal: the next version of a store, which holders sign one after another or at the same time, each on a machine of her
 * own and against her own copy of the store. Everything is checked as a machine checks an update, except that enough have
 * signed. Pure, but for the signers.
 */

export interface Proposal {
  /** The reader's own copy of what is sealed. */
  readonly installed: StoreFiles
  readonly pin: RootPin
  /** The whole store that would result. */
  readonly files: StoreFiles
  /** What it would say. Not in force before all demands are met. */
  readonly configuration: SealedConfiguration
  /** `null`: nothing is sealed yet. */
  readonly present: SealedConfiguration | null
  /** What is to be signed, met or not. */
  readonly demands: readonly Demand[]
}

export const nothingSealed: StoreFiles = { roots: new Map(), snapshot: null, roles: new Map() }

/** Throws a `SealError` for whatever is wrong beside missing signatures; an update of another version than the next is refused. */
export function readProposal(
  installed: StoreFiles,
  untrusted: StoreFiles,
  pin: RootPin,
  now: Date,
): Proposal {
  const present = installed.snapshot === null ? null : verifyStore(installed, pin, null, now)
  const before = present === null ? null : verifyRoots(installed.roots, pin)
  const { roots, root } = proposedRoot(installed, untrusted, pin, before)
  const roles = contentRoles(root.root)
  const files: StoreFiles = {
    roots,
    snapshot: untrusted.snapshot ?? installed.snapshot,
    roles: new Map([...[...installed.roles].filter(([role]) => roles.includes(role)), ...untrusted.roles]),
  }
  const configuration = readStore(files, root, { open: openUnfinished, floor: null, now })
  if (present !== null) requireSuccessor(present, configuration)
  requireUnexpired(configuration)
  const demands = demandsOf(files, root.root, before?.root ?? null).filter(demand =>
    isAsked(demand, installed),
  )
  for (const demand of demands) requireSound(demand)
  return { installed, pin, files, configuration, present, demands }
}

function proposedRoot(
  installed: StoreFiles,
  untrusted: StoreFiles,
  pin: RootPin,
  before: VerifiedRoot | null,
): { roots: ReadonlyMap<number, Uint8Array>; root: VerifiedRoot } {
  const roots = new Map([...installed.roots, ...untrusted.roots])
  if (before === null) {
    const other = [...roots.keys()].find(version => version !== pin.version)
    if (other !== undefined)
      throw new SealError(
        'SEAL_ROOT_CHAIN',
        `the first proposal has ${rootFile(other)} besides the pinned root`,
      )
    return { roots, root: readFirstRoot({ ...installed, roots }, pin) }
  }
  requireInstalledRoots(installed, untrusted)
  const next = before.root.version + 1
  for (const version of untrusted.roots.keys())
    if (version > next)
      throw new SealError(
        'SEAL_ROOT_CHAIN',
        `the proposal has ${rootFile(version)}; the next is ${rootFile(next)}`,
      )
  const bytes = untrusted.roots.get(next)
  return { roots, root: bytes === undefined ? before : readNextRoot(bytes, before) }
}

/** As `verifyEnvelope`, without the threshold. */
function openUnfinished(untrustedBytes: Uint8Array, expected: Expectation): Uint8Array {
  const envelope = parseEnvelope(untrustedBytes, expected.what)
  const sound = { ...expected, threshold: 0 }
  requireKnownSigners(envelope, sound)
  requireThreshold(envelope, sound)
  requireType(envelope, sound)
  return envelope.payload
}

function demandsOf(files: StoreFiles, root: Root, before: Root | null): readonly Demand[] {
  const newest = files.roots.get(root.version)
  const group = (of: Root, role: string) => ({
    keys: keysOfRole(of, role),
    threshold: thresholdOfRole(of, role),
  })
  const demand = (
    file: string,
    bytes: Uint8Array | undefined | null,
    payloadType: string,
    groups: Demand['groups'],
  ) =>
    bytes === undefined || bytes === null
      ? []
      : [{ file, envelope: parseEnvelope(bytes, file), payloadType, groups }]
  const rootGroups = before === null || before === root ? [] : [group(before, 'root')]
  return [
    ...demand(rootFile(root.version), newest, rootPayloadType, [...rootGroups, group(root, 'root')]),
    ...contentRoles(root).flatMap(role =>
      demand(roleFile(role), files.roles.get(role), rolePayloadType, [group(root, role)]),
    ),
    ...demand(snapshotFile, files.snapshot, snapshotPayloadType, [group(root, 'snapshot')]),
  ]
}

/** Whether a file is new, or stays and has too few signatures that count under the new root. */
function isAsked(demand: Demand, installed: StoreFiles): boolean {
  const bytes = new Map(namedFiles(installed)).get(demand.file)
  if (bytes === undefined) return true
  const envelope = parseEnvelope(bytes, demand.file)
  if (Buffer.compare(envelope.payload, demand.envelope.payload) !== 0) return true
  return missingOf({ ...demand, envelope }).length > 0
}

export interface Signed {
  readonly proposal: Proposal
  /** Of the signatures that were added. */
  readonly added: readonly { readonly file: string; readonly keyId: string }[]
}

/** With the signatures of all `signers` who hold a key that counts and have not signed yet. */
export async function signProposal(
  proposal: Proposal,
  signers: readonly SealSigner[],
  signal: AbortSignal,
): Promise<Signed> {
  const added: { file: string; keyId: string }[] = []
  const demands: Demand[] = []
  for (const demand of proposal.demands) {
    let { envelope } = demand
    for (const key of keysOf(demand)) {
      const signer = signers.find(({ keyId }) => keyId === key.id)
      if (signer === undefined || hasSigned(demand, key)) continue
      envelope = await addSignature(envelope, key, signer, demand.file, signal)
      added.push({ file: demand.file, keyId: key.id })
    }
    demands.push({ ...demand, envelope })
  }
  return { proposal: withEnvelopes(proposal, demands), added }
}

/** With the signatures of both. Throws `SEAL_PROPOSALS_DIFFER` where they are not of the same version. */
export function mergeProposals(one: Proposal, other: Proposal): Proposal {
  const demands = one.demands.map(demand => {
    const twin = other.demands.find(({ file }) => file === demand.file)
    if (twin === undefined || Buffer.compare(demand.envelope.payload, twin.envelope.payload) !== 0)
      throw new SealError('SEAL_PROPOSALS_DIFFER', `${demand.file}: the proposals say different things`)
    return { ...demand, envelope: union(demand.envelope, twin.envelope) }
  })
  if (one.configuration.digest !== other.configuration.digest)
    throw new SealError('SEAL_PROPOSALS_DIFFER', 'the proposals are of different versions')
  return withEnvelopes(one, demands)
}

function union(one: Envelope, other: Envelope): Envelope {
  const known = one.signatures.map(({ keyId }) => keyId)
  return {
    ...one,
    signatures: [...one.signatures, ...other.signatures.filter(({ keyId }) => !known.includes(keyId))],
  }
}

function withEnvelopes(proposal: Proposal, demands: readonly Demand[]): Proposal {
  const signed = new Map(demands.map(({ file, envelope }) => [file, encodeEnvelope(envelope)]))
  const files = storeFiles(
    namedFiles(proposal.files).map(([file, bytes]) => [file, signed.get(file) ?? bytes]),
  )
  return { ...proposal, files, demands }
}

export function isComplete({ demands }: Proposal): boolean {
  return demands.every(demand => missingOf(demand).length === 0)
}

/** The store that is then sealed, verified as every machine will. Throws `SEAL_THRESHOLD` while signatures are missing. */
export function completeProposal({ files, pin, present }: Proposal, now: Date): SealedConfiguration {
  const configuration = verifyStore(files, pin, null, now)
  if (present !== null) requireSuccessor(present, configuration)
  requireUnexpired(configuration)
  return configuration
}

/** What a reader with the same copy of the store needs to have the proposal. */
export function proposedChanges({ installed, files, present }: Proposal): StoreFiles {
  return changedFiles(present === null ? nothingSealed : installed, files)
}
