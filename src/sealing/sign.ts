import { missingOf } from './demand.ts'
import { SealError } from './errors.ts'
import { shortId } from './keys.ts'
import { proposedFiles, type SealPlan } from './plan.ts'
import { completeProposal, type Proposal, proposedChanges, readProposal } from './proposal.ts'
import type { SealSigner } from './signer.ts'
import type { StoreFiles } from './store-files.ts'
import { encodeUpdate } from './update.ts'
import type { SealedConfiguration } from './verify.ts'

/* From a plan to the update that the machines get. What is made is verified before it is given out. */

export interface SealedUpdate {
  readonly files: StoreFiles
  readonly configuration: SealedConfiguration
  /** The files that changed, for the machines that have the version before. */
  readonly update: Uint8Array
}

export function proposalOf(plan: SealPlan): Proposal {
  const { installed, pin, now } = plan.request
  return readProposal(installed, proposedFiles(plan), pin, now)
}

/** Throws `SEAL_THRESHOLD` while signatures are missing. */
export function sealedUpdate(proposal: Proposal, now: Date): SealedUpdate {
  const configuration = completeProposal(proposal, now)
  return { files: proposal.files, configuration, update: encodeUpdate(proposedChanges(proposal)) }
}

/** Throws `SEAL_SIGNERS_SHORT`, before anyone is asked, when too few are at hand. */
export function requireSigners({ demands }: Proposal, signers: readonly SealSigner[]): void {
  for (const demand of demands)
    for (const { count, of } of missingOf(demand)) {
      const able = of.filter(({ id }) => signers.some(({ keyId }) => keyId === id))
      if (able.length < count)
        throw new SealError(
          'SEAL_SIGNERS_SHORT',
          `${demand.file}: ${able.length} of the ${count} keys needed are at hand; these would count: ${of.map(key => `${shortId(key.id)}…`).join(', ')}`,
        )
    }
}
