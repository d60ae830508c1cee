import path from 'node:path'
import type { Clock } from '../../base/environment.ts'
import { CodedError } from '../../base/errors.ts'
import type { Digest } from '../../base/names.ts'
import { dayMilliseconds } from '../../base/quantities.ts'
import { namesIn } from '../io.ts'
import { shortId } from '../keys.ts'
import { type Custody, ownerRole } from '../root.ts'
import type { SealReport } from '../show.ts'
import { proposalEnding } from '../workspace.ts'
import { openCopy, openProposal, type SealCopy } from './copy.ts'
import { nextStep, type SignatureState, signaturesOf } from './describe.ts'
import { keyFilesOf } from './keys-at-hand.ts'

/* `strongroom seal status`: where a ceremony stands, and what comes next. */

/** From then on the status says to sign again. */
const renewDays = 30

export interface StatusReport {
  /** `null`: nothing is sealed yet. */
  readonly version: number | null
  readonly digest: Digest | null
  readonly custody: Custody | null
  readonly owner: boolean
  readonly expires: string | null
  readonly roles: readonly {
    readonly role: string
    readonly threshold: number
    readonly keys: readonly Digest[]
  }[]
  readonly keyFiles: readonly string[]
  readonly proposals: readonly {
    readonly file: string
    readonly version: number
    readonly signatures: readonly SignatureState[]
  }[]
}

export async function statusCommand(directory: string, clock: Clock): Promise<SealReport<StatusReport>> {
  const copy = await openCopy(directory, clock)
  const keyFiles = await keyFilesOf(copy.workspace.keys)
  const proposals = await openProposals(copy, clock)
  const { present } = copy
  const roles = [...(present?.root.roles ?? [])].map(([role, { threshold, keys }]) => ({
    role,
    threshold,
    keys,
  }))
  return {
    result: {
      version: present?.version ?? null,
      digest: present?.digest ?? null,
      custody: present?.custody ?? null,
      owner: present?.root.roles.has(ownerRole) ?? false,
      expires: present?.expires.toISOString() ?? null,
      roles,
      keyFiles,
      proposals: proposals.map(({ file, proposal }) => ({
        file,
        version: proposal.configuration.version,
        signatures: signaturesOf(proposal),
      })),
    },
    text: [
      ...(present === null
        ? ['sealed    nothing yet']
        : [
            `sealed    version ${present.version}, ${present.digest}`,
            `custody   ${present.custody}, root version ${present.root.version}${present.root.roles.has(ownerRole) ? '' : ', no owner key'}`,
          ]),
      ...roles.map(
        ({ role, threshold, keys }) =>
          `role      ${role}: ${threshold} of ${keys.length}: ${keys.map(key => `${shortId(key)}…`).join(', ')}`,
      ),
      ...keyFiles.map(file => `key       ${file}`),
      ...proposals.map(
        ({ file, proposal }) => `proposal  version ${proposal.configuration.version} in ${file}`,
      ),
      ...nextSteps(copy, proposals, clock),
    ],
  }
}

type Opened = { readonly file: string; readonly proposal: Awaited<ReturnType<typeof openProposal>> }

/** Those that can still come into force; older ones have been sealed or overtaken. */
async function openProposals(copy: SealCopy, clock: Clock): Promise<readonly Opened[]> {
  const { proposals } = copy.workspace
  const opened: Opened[] = []
  for (const name of await namesIn(proposals)) {
    if (!name.endsWith(proposalEnding)) continue
    const file = path.join(proposals, name)
    try {
      opened.push({ file, proposal: await openProposal(copy, file, clock) })
    } catch (error) {
      if (!(error instanceof CodedError)) throw error
    }
  }
  return opened
}

function nextSteps(
  { present, installed, workspace }: SealCopy,
  proposals: readonly Opened[],
  clock: Clock,
): readonly string[] {
  if (proposals.length > 0)
    return proposals.map(({ file, proposal }) => nextStep(proposal, file, workspace.directory))
  if (installed.roots.size === 0)
    return ['next      strongroom seal init, or review a proposal that you were given']
  if (present === null)
    return [`next      put the configuration into ${workspace.draft}; then strongroom seal sign, or propose`]
  const days = Math.floor((present.expires.getTime() - clock.now().getTime()) / dayMilliseconds)
  const expiry = `expires   ${present.expires.toISOString()}, ${days < 0 ? 'passed' : `in ${days} days`}`
  return days < renewDays ? [expiry, 'next      strongroom seal sign --renew, or propose --renew'] : [expiry]
}
