import type { Clock } from '../../base/environment.ts'
import { makePrivateDirectory, writeDurably } from '../../base/files.ts'
import { sha256Hex } from '../../crypto/digest.ts'
import { nodeDisk } from '../disk.ts'
import { parseEnvelope } from '../envelope.ts'
import { SealError } from '../errors.ts'
import { readFloor, writeFloor } from '../floor.ts'
import {
  generationOf,
  hasGeneration,
  readGeneration,
  sweepGenerations,
  writeGeneration,
} from '../generation.ts'
import { reportingIo } from '../io.ts'
import { shortId } from '../keys.ts'
import { encodePin, hasPin, type RootPin, readPin } from '../pin.ts'
import { nothingSealed, type Proposal, readProposal } from '../proposal.ts'
import { readProposalFile } from '../proposal-file.ts'
import type { SealedUpdate } from '../sign.ts'
import { rootFile, type StoreFiles, snapshotFile } from '../store-files.ts'
import { encodeUpdate } from '../update.ts'
import { floorOf, type SealedConfiguration, verifyStore } from '../verify.ts'
import { type SealWorkspace, sealWorkspace, updateFile, wholeFile } from '../workspace.ts'

/* A holder's own copy of the store, against which she reads what she is given. */

export interface SealCopy {
  readonly workspace: SealWorkspace
  readonly installed: StoreFiles
  /** `null`: this machine trusts no root yet. */
  readonly pin: RootPin | null
  /** `null`: nothing is sealed yet. */
  readonly present: SealedConfiguration | null
}

/** Throws a `SealError` when the copy does not verify, or is older than it was. */
export async function openCopy(directory: string, clock: Clock): Promise<SealCopy> {
  const workspace = sealWorkspace(directory)
  const installed = (await hasGeneration(workspace.store))
    ? await readGeneration(workspace.store)
    : nothingSealed
  const pin = (await hasPin(workspace.pin)) ? await readPin(workspace.pin) : null
  if (installed.roots.size > 0 && pin === null) await readPin(workspace.pin)
  const present =
    installed.snapshot === null || pin === null
      ? null
      : verifyStore(installed, pin, await readFloor(workspace.floor), clock.now())
  return { workspace, installed, pin, present }
}

/** The pin of a copy under whose root something is to be sealed. */
export function requirePin({ pin, workspace }: SealCopy): RootPin {
  if (pin === null) throw new SealError('SEAL_PIN_INVALID', `no pin at ${workspace.pin}`)
  return pin
}

/** What is sealed. Throws `SEAL_EMPTY`. */
export function requireSealed({ present, workspace }: SealCopy): SealedConfiguration {
  if (present === null) throw new SealError('SEAL_EMPTY', `nothing is sealed in ${workspace.store}`)
  return present
}

/** A proposal in a file, read against the copy. Where no root is trusted yet, the proposal's own is taken: show it. */
export async function openProposal(copy: SealCopy, file: string, clock: Clock): Promise<Proposal> {
  const untrusted = await readProposalFile(file)
  requireSameRoot(copy, untrusted)
  requireNotSealed(copy, untrusted)
  return readProposal(copy.installed, untrusted, copy.pin ?? firstRootOf(untrusted), clock.now())
}

/** Somebody else's proposal is no fork of what is sealed here. */
function requireSameRoot({ pin }: SealCopy, untrusted: StoreFiles): void {
  if (pin === null || pin.version !== 1 || !untrusted.roots.has(1)) return
  const { digest } = firstRootOf(untrusted)
  if (digest === pin.digest) return
  throw new SealError(
    'SEAL_ROOT_UNPINNED',
    `the proposal is of root ${shortId(digest)}…; here ${shortId(pin.digest)}… is trusted`,
    { hint: 'name a proposal of your own root, or the --dir where the other one is trusted' },
  )
}

/** One more signature under what is in force changes its bytes, and nothing else: not to be taken for a fork. */
function requireNotSealed({ present }: SealCopy, { snapshot }: StoreFiles): void {
  if (present === null || snapshot === null) return
  if (sha256Hex(parseEnvelope(snapshot, snapshotFile).payload) !== present.digest) return
  throw new SealError(
    'SEAL_INSTALLED',
    `version ${present.version} (${shortId(present.digest)}…) is sealed here already`,
  )
}

function firstRootOf(untrusted: StoreFiles): RootPin {
  const bytes = untrusted.roots.get(1)
  if (bytes === undefined)
    throw new SealError(
      'SEAL_ROOT_UNPINNED',
      `no root is trusted here, and the proposal has no ${rootFile(1)}`,
      {
        hint: 'put pin.json of whoever made the root into --dir, and install its updates/whole.update there first',
      },
    )
  return { version: 1, digest: sha256Hex(parseEnvelope(bytes, rootFile(1)).payload) }
}

export async function trustRoot({ workspace, pin }: SealCopy, wanted: RootPin): Promise<void> {
  if (pin !== null) return
  await reportingIo(() => makePrivateDirectory(workspace.directory))
  await reportingIo(() => writeDurably(workspace.pin, encodePin(wanted), 0o644))
}

/** Writes the update for the machines, then replaces the copy. Returns the update's file. */
export async function putInForce(
  { workspace }: SealCopy,
  { files, configuration, update }: SealedUpdate,
): Promise<string> {
  const { version, digest } = configuration
  // The update first: a store that is ahead of its updates would leave every machine waiting for one that is nowhere.
  const file = updateFile(workspace, version)
  await reportingIo(() => makePrivateDirectory(workspace.updates))
  await reportingIo(() => writeDurably(file, update, 0o644))
  await reportingIo(() => writeDurably(wholeFile(workspace), encodeUpdate(files), 0o644))
  await writeGeneration(workspace.store, generationOf(version, digest), files, nodeDisk)
  await writeFloor(workspace.floor, floorOf(configuration))
  await sweepGenerations(workspace.store, nodeDisk)
  return file
}
