import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { Clock, Entropy } from '../../base/environment.ts'
import { makePrivateDirectory, writeDurably } from '../../base/files.ts'
import type { Digest } from '../../base/names.ts'
import { nodeDisk } from '../disk.ts'
import { readDraft } from '../draft.ts'
import { SealError } from '../errors.ts'
import { generationOf, hasGeneration, writeGeneration } from '../generation.ts'
import { reportingIo } from '../io.ts'
import { createKeyFile, encryptedKeyFileEnding, type KeyProtection, keyFileEnding } from '../key-file.ts'
import type { PublicKey } from '../keys.ts'
import { type MemorySigner, memorySigner } from '../memory-signer.ts'
import { encodePin } from '../pin.ts'
import { planSeal } from '../plan.ts'
import { isComplete, signProposal } from '../proposal.ts'
import { ownerRole, publishers, type RootRole } from '../root.ts'
import { signFirstRoot } from '../root-candidate.ts'
import type { SealReport } from '../show.ts'
import { proposalOf, sealedUpdate } from '../sign.ts'
import { standardRoles } from '../standard-roles.ts'
import type { StoreFiles } from '../store-files.ts'
import { sealWorkspace } from '../workspace.ts'
import { openCopy, putInForce } from './copy.ts'
import { describeDiscarded, forever } from './discard.ts'
import { type ProposalReport, publish, reportOf } from './propose.ts'

/*
 * `strongroom seal init --custody discarded`: a configuration that is sealed in one moment and never changes again. The keys are made
 * in the memory of this process, sign once and are zeroed; roles that others hold stay theirs.
 */

export interface InitDiscardedOptions {
  readonly directory: string
  /** What is sealed. */
  readonly draft: string
  readonly clock: Clock
  readonly entropy: Entropy
  /** Of the owner's key file, the only one that is made; `null` leaves it in clear. */
  readonly protection: KeyProtection | null
  /** Who goes on with a role: the user with `hsm`, so that a lost token does not end all backups. */
  readonly holders: ReadonlyMap<string, readonly PublicKey[]>
  readonly thresholds: ReadonlyMap<string, number>
  readonly withOwner: boolean
  /** Refuses a draft by throwing a `CodedError`. */
  readonly validate: (files: ReadonlyMap<string, Uint8Array>) => unknown
}

export interface InitDiscardedReport extends ProposalReport {
  readonly discarded: readonly Digest[]
  readonly kept: readonly string[]
  /** `null`: holders of roles that were kept are still to sign. */
  readonly update: string | null
}

/** Throws `SEAL_EXISTS`, `SEAL_ROOT_INVALID`, and what a draft throws. */
export async function initDiscardedCommand(
  options: InitDiscardedOptions,
  signal: AbortSignal,
): Promise<SealReport<InitDiscardedReport>> {
  const workspace = sealWorkspace(options.directory)
  if (await hasGeneration(workspace.store))
    throw new SealError('SEAL_EXISTS', `there is a sealed store in ${workspace.store} already`)
  for (const role of options.holders.keys())
    if (!Object.keys(standardRoles).includes(role))
      throw new SealError('SEAL_ROOT_INVALID', `nobody can hold '${role}' when the keys are discarded`)
  const files = await readDraft(options.draft)
  options.validate(files)
  const written: string[] = []
  try {
    return await sealOnce(options, files, written, signal)
  } catch (cause) {
    // No root names what was written here: left behind, it would be in the way of the next try.
    if (!(await hasGeneration(workspace.store)))
      for (const file of written) await reportingIo(() => rm(file, { force: true }))
    throw cause
  }
}

async function sealOnce(
  options: InitDiscardedOptions,
  files: ReadonlyMap<string, Uint8Array>,
  written: string[],
  signal: AbortSignal,
): Promise<SealReport<InitDiscardedReport>> {
  const { directory, clock } = options
  const kept = [...options.holders.keys()]
  const workspace = sealWorkspace(directory)
  using stack = new DisposableStack()
  const made: MemorySigner[] = []
  const { keys, roles } = await makeRoles(options, written, () => {
    const signer = stack.use(memorySigner(options.entropy))
    made.push(signer)
    return signer.publicKey
  })
  const root = await signFirstRoot({ custody: 'discarded', expires: forever, keys, roles }, made, signal)
  const installed: StoreFiles = { roots: new Map([[1, root.bytes]]), snapshot: null, roles: new Map() }
  const pin = { version: 1, digest: root.digest }
  const now = clock.now()
  const plan = planSeal({ installed, nextRoot: null, pin, files, expires: forever, renew: [], now })
  const { proposal } = await signProposal(proposalOf(plan), made, signal)
  const discarded = made.map(({ publicKey }) => publicKey.id)
  stack.dispose()
  await reportingIo(() => writeDurably(workspace.pin, encodePin(pin), 0o644))
  await writeGeneration(workspace.store, generationOf(0, root.digest), installed, nodeDisk)
  const copy = await openCopy(directory, clock)
  if (!isComplete(proposal)) {
    const { result, text } = await publish(workspace, proposal)
    return {
      result: { ...result, discarded, kept, update: null },
      text: [...describeDiscarded(discarded), ...text],
    }
  }
  const update = await putInForce(copy, sealedUpdate(proposal, now))
  const { result } = reportOf(proposal, update, directory)
  return {
    result: { ...result, discarded, kept, update },
    text: [
      ...describeDiscarded(discarded),
      `sealed    version ${result.version}, ${result.digest}`,
      `pin       ${workspace.pin}: belongs on every machine that is to trust this root`,
      `update    ${update}`,
      'careful   nobody can change what is sealed any more',
    ],
  }
}

async function makeRoles(
  options: InitDiscardedOptions,
  written: string[],
  makeKey: () => PublicKey,
): Promise<{ readonly keys: Map<Digest, PublicKey>; readonly roles: Map<string, RootRole> }> {
  const { directory, protection, entropy, holders, thresholds, withOwner } = options
  const workspace = sealWorkspace(directory)
  const keys = new Map<Digest, PublicKey>()
  const roles = new Map<string, RootRole>()
  const add = (name: string, own: readonly PublicKey[], paths: readonly string[]) => {
    for (const key of own) keys.set(key.id, key)
    roles.set(name, { keys: own.map(({ id }) => id), threshold: thresholds.get(name) ?? 1, paths })
  }
  add('root', [makeKey()], [])
  if (withOwner) {
    await reportingIo(() => makePrivateDirectory(workspace.keys))
    const file = ownerKeyFile(options)
    const owner = await createKeyFile(file, protection, entropy)
    written.push(file)
    add(ownerRole, [owner.publicKey], [])
  } else await reportingIo(() => makePrivateDirectory(directory))
  for (const [name, paths] of Object.entries(standardRoles))
    add(name, holders.get(name) ?? [makeKey()], paths)
  roles.set('snapshot', publishers(roles))
  return { keys, roles }
}

function ownerKeyFile({ directory, protection }: InitDiscardedOptions): string {
  const ending = protection === null ? keyFileEnding : encryptedKeyFileEnding
  return path.join(sealWorkspace(directory).keys, `${ownerRole}${ending}`)
}
