import type { Clock } from '../../base/environment.ts'
import { makePrivateDirectory } from '../../base/files.ts'
import type { Digest } from '../../base/names.ts'
import { readDraft } from '../draft.ts'
import { parseEnvelope } from '../envelope.ts'
import { SealError } from '../errors.ts'
import { reportingIo } from '../io.ts'
import { planSeal } from '../plan.ts'
import type { Proposal } from '../proposal.ts'
import { readProposalFile, writeProposal } from '../proposal-file.ts'
import type { SealReport } from '../show.ts'
import { proposalOf } from '../sign.ts'
import { proposalFile, type SealWorkspace } from '../workspace.ts'
import { openCopy, requirePin, type SealCopy } from './copy.ts'
import {
  describeSignatures,
  describeUnproven,
  differenceOf,
  nextStep,
  type SignatureState,
  signaturesOf,
} from './describe.ts'

/* `strongroom seal propose`: the draft as a proposal, for holders on machines of their own. */

export interface SealProposeOptions {
  readonly directory: string
  readonly expires: Date
  readonly renew: boolean
  readonly clock: Clock
  /** Refuses a draft by throwing a `CodedError`. */
  readonly validate: (files: ReadonlyMap<string, Uint8Array>) => unknown
}

export interface ProposalReport {
  readonly version: number
  readonly digest: Digest
  readonly file: string
  readonly difference: readonly string[]
  readonly signatures: readonly SignatureState[]
}

export async function proposeCommand(options: SealProposeOptions): Promise<SealReport<ProposalReport>> {
  const { copy, proposal } = await proposeDraft(options)
  return await publish(copy.workspace, proposal)
}

/** The draft of a workspace as the next version, with no signature that is new. */
export async function proposeDraft({
  directory,
  expires,
  renew,
  clock,
  validate,
}: SealProposeOptions): Promise<{ readonly copy: SealCopy; readonly proposal: Proposal }> {
  const copy = await openCopy(directory, clock)
  const files = await readDraft(copy.workspace.draft)
  const plan = planSeal({
    installed: copy.installed,
    nextRoot: null,
    pin: requirePin(copy),
    files,
    expires,
    renew: renew ? 'all' : [],
    now: clock.now(),
  })
  validate(files)
  return { copy, proposal: proposalOf(plan) }
}

/** Writes a new proposal into the workspace. */
export async function publish(
  workspace: SealWorkspace,
  proposal: Proposal,
): Promise<SealReport<ProposalReport>> {
  const file = proposalFile(workspace, proposal.configuration.version)
  await reportingIo(() => makePrivateDirectory(workspace.proposals))
  const replaced = await isSigned(file)
  await writeProposal(file, proposal)
  const { result, text } = reportOf(proposal, file, workspace.directory)
  const careful = 'careful   another proposal was in this file, with signatures: those are to be given again'
  return { result, text: replaced ? [careful, ...text] : text }
}

/** Whether there is a proposal that somebody has signed. What cannot be read is none. */
async function isSigned(file: string): Promise<boolean> {
  try {
    const { roots, snapshot, roles } = await readProposalFile(file)
    const envelopes = [...roots.values(), ...roles.values(), ...(snapshot === null ? [] : [snapshot])]
    return envelopes.some(bytes => parseEnvelope(bytes, file).signatures.length > 0)
  } catch (error) {
    if (error instanceof SealError) return false
    throw error
  }
}

export function reportOf(proposal: Proposal, file: string, directory: string): SealReport<ProposalReport> {
  const { version, digest } = proposal.configuration
  const difference = differenceOf(proposal)
  return {
    result: { version, digest, file, difference, signatures: signaturesOf(proposal) },
    text: [
      `proposal  version ${version}, ${digest}`,
      ...difference,
      ...describeSignatures(proposal),
      ...describeUnproven(proposal),
      nextStep(proposal, file, directory),
    ],
  }
}
