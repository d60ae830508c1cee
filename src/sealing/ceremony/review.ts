import type { Clock } from '../../base/environment.ts'
import type { SealReport } from '../show.ts'
import { openCopy, openProposal } from './copy.ts'
import { type ProposalReport, reportOf } from './propose.ts'

/** `strongroom seal review`: what a proposal would change, from this machine's own copy, and who has signed it. */
export async function reviewCommand(options: {
  readonly directory: string
  readonly file: string
  readonly clock: Clock
  readonly validate: (files: ReadonlyMap<string, Uint8Array>) => unknown
}): Promise<SealReport<ProposalReport>> {
  const { directory, file, clock, validate } = options
  const copy = await openCopy(directory, clock)
  const proposal = await openProposal(copy, file, clock)
  validate(proposal.configuration.files)
  const { result, text } = reportOf(proposal, file, directory)
  const trusted =
    copy.pin === null
      ? [
          `careful   root ${proposal.pin.digest} is new to this machine: compare it with the other holders, by voice`,
        ]
      : []
  return { result, text: [...trusted, ...text] }
}
