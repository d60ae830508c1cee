import type { Clock } from '../../base/environment.ts'
import type { Digest } from '../../base/names.ts'
import { SealError } from '../errors.ts'
import { type Proposal, signProposal } from '../proposal.ts'
import { writeProposal } from '../proposal-file.ts'
import type { SealReport } from '../show.ts'
import { requireSigners, sealedUpdate } from '../sign.ts'
import { openCopy, openProposal, putInForce, trustRoot } from './copy.ts'
import { differenceOf } from './describe.ts'
import { type KeysAtHand, openKeys } from './keys-at-hand.ts'
import { type ProposalReport, proposeDraft, reportOf } from './propose.ts'

/* `strongroom seal sign`: shows what would change, asks, and signs with the keys at hand. */

interface SigningOptions extends KeysAtHand {
  readonly directory: string
  readonly clock: Clock
  /** Refuses a configuration by throwing a `CodedError`, before anyone is asked. */
  readonly validate: (files: ReadonlyMap<string, Uint8Array>) => unknown
  /** Shown the difference; only `true` signs. */
  readonly confirm: (difference: readonly string[]) => Promise<boolean>
}

export interface SealSignOptions extends SigningOptions {
  readonly expires: Date
  readonly renew: boolean
}

export interface SealSignResult {
  readonly version: number
  readonly digest: Digest
  readonly expires: string
  /** What was signed. */
  readonly files: readonly string[]
  readonly update: string
}

/** Seals the draft in one go: all keys that are needed are at hand. Throws `SEAL_SIGNERS_SHORT` otherwise. */
export async function signCommand(
  options: SealSignOptions,
  signal: AbortSignal,
): Promise<SealReport<SealSignResult>> {
  const { copy, proposal } = await proposeDraft(options)
  await requireYes(options, differenceOf(proposal))
  const signers = await openKeys(copy.workspace, options)
  requireSigners(proposal, signers)
  const signed = await signProposal(proposal, signers, signal)
  const sealed = sealedUpdate(signed.proposal, options.clock.now())
  const update = await putInForce(copy, sealed)
  const { version, digest } = sealed.configuration
  return {
    result: {
      version,
      digest,
      expires: sealed.configuration.expires.toISOString(),
      files: proposal.demands.map(({ file }) => file),
      update,
    },
    text: [`sealed    version ${version}, ${digest}`, `update    ${update}`],
  }
}

export interface SealProposalOptions extends SigningOptions {
  /** Is replaced by the same proposal with more signatures. */
  readonly file: string
}

export interface SignedReport extends ProposalReport {
  readonly added: readonly { readonly file: string; readonly keyId: string }[]
}

/** Adds this holder's signatures to a proposal. Throws `SEAL_NOTHING_TO_SIGN` when none of her keys is asked for. */
export async function signProposalCommand(
  options: SealProposalOptions,
  signal: AbortSignal,
): Promise<SealReport<SignedReport>> {
  const { directory, file, clock, validate } = options
  const copy = await openCopy(directory, clock)
  const proposal = await openProposal(copy, file, clock)
  validate(proposal.configuration.files)
  await requireYes(options, [...newRoot(proposal, copy.pin === null), ...differenceOf(proposal)])
  const signers = await openKeys(copy.workspace, options)
  const signed = await signProposal(proposal, signers, signal)
  if (signed.added.length === 0)
    throw new SealError(
      'SEAL_NOTHING_TO_SIGN',
      'no signature was added: none of the keys at hand is asked for',
    )
  await trustRoot(copy, proposal.pin)
  await writeProposal(file, signed.proposal)
  const { result, text } = reportOf(signed.proposal, file, directory)
  return { result: { ...result, added: signed.added }, text }
}

function newRoot({ pin }: Proposal, isNew: boolean): readonly string[] {
  return isNew ? [`root ${pin.digest} is new to this machine: a yes trusts it from now on`] : []
}

async function requireYes({ confirm }: SigningOptions, difference: readonly string[]): Promise<void> {
  if (!(await confirm(difference))) throw new SealError('SEAL_DECLINED', 'not confirmed; nothing was signed')
}
