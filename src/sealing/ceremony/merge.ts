import type { Clock } from '../../base/environment.ts'
import { isComplete, mergeProposals } from '../proposal.ts'
import { writeProposal } from '../proposal-file.ts'
import type { SealReport } from '../show.ts'
import { sealedUpdate } from '../sign.ts'
import { openCopy, openProposal, putInForce, requirePin } from './copy.ts'
import { type ProposalReport, reportOf } from './propose.ts'

export interface MergeReport extends ProposalReport {
  /** `null` while signatures are missing. */
  readonly update: string | null
}

/**
 * `strongroom seal merge`: puts the signatures of all copies of one proposal into the first, and what is then complete in force
 * in this workspace, with an update for the machines. Nobody is asked here, so no root becomes trusted here.
 */
export async function mergeCommand(options: {
  readonly directory: string
  readonly file: string
  readonly others: readonly string[]
  readonly clock: Clock
}): Promise<SealReport<MergeReport>> {
  const { directory, file, others, clock } = options
  const copy = await openCopy(directory, clock)
  requirePin(copy)
  let merged = await openProposal(copy, file, clock)
  for (const other of others) merged = mergeProposals(merged, await openProposal(copy, other, clock))
  await writeProposal(file, merged)
  const { result, text } = reportOf(merged, file, directory)
  if (!isComplete(merged)) return { result: { ...result, update: null }, text }
  const sealed = sealedUpdate(merged, clock.now())
  const update = await putInForce(copy, sealed)
  return {
    result: { ...result, update },
    text: [
      `sealed    version ${result.version}, ${result.digest}`,
      `update    ${update}`,
      `next      strongroom seal install --machine DIR --update ${update}, on every machine and every holder's copy`,
    ],
  }
}
