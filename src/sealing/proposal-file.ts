import { readBounded, writeDurably } from '../base/files.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { type Proposal, proposedChanges } from './proposal.ts'
import type { StoreFiles } from './store-files.ts'
import { encodeNamed, parseNamed, updateBytesMax } from './update.ts'

/* A proposal as one file, which is passed around until enough have signed. It has the form of an update, and no authority. */

const header = 'strongroom proposal 1\n'

export async function writeProposal(file: string, proposal: Proposal): Promise<void> {
  const bytes = encodeNamed(header, proposedChanges(proposal))
  await reportingIo(() => writeDurably(file, bytes, 0o644))
}

/** Throws `SEAL_PROPOSAL_MISSING`, `SEAL_UPDATE_MALFORMED`, `SEAL_TOO_LARGE`. Nothing in what it returns is verified. */
export async function readProposalFile(file: string): Promise<StoreFiles> {
  const bytes = await reportingIo(() => readBounded(file, updateBytesMax))
  if (bytes === null) throw new SealError('SEAL_PROPOSAL_MISSING', `there is no file ${file}`)
  return bytes.parse(untrustedBytes => parseNamed(header, untrustedBytes))
}
