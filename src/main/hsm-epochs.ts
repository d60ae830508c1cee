import { BaseError } from '../base/base-errors.ts'
import { type ProfileName, parseProfileName } from '../base/names.ts'
import { countText } from '../base/quantities.ts'
import { endEpoch } from '../hsm/control.ts'
import { readRecord } from '../hsm/store.ts'
import { askYes } from './ask.ts'
import type { Answer } from './command-line.ts'
import { askService } from './hsm-service.ts'

/* `strongroom hsm destroy-epoch`: the service does it, which alone follows the ledger. */

/** The whole ledger is read. */
const timeoutMilliseconds = 15 * 60 * 1000

export interface DestroyWanted {
  readonly profile: string
  readonly epoch: number
  /** Do not ask. */
  readonly yes: boolean
}

/** Throws `CANCELLED` without a yes, and what the service throws. */
export async function destroyEpoch(
  home: string,
  { profile: untrustedProfile, epoch, yes }: DestroyWanted,
  signal: AbortSignal,
): Promise<Answer> {
  const profile = parseProfileName(untrustedProfile)
  const archives = await stockBackups(home, profile, epoch)
  if (!yes) {
    console.error(warning(profile, epoch, archives).join('\n'))
    if (!(await askYes(`Destroy epoch ${epoch} of ${profile}?`)))
      throw new BaseError('CANCELLED', 'nothing was destroyed', {
        hint: 'answer yes on a terminal, or give --yes',
      })
  }
  const destroyed = await askService(home, endEpoch, { profile, epoch }, signal, timeoutMilliseconds)
  return {
    result: { profile, epoch, ...destroyed },
    text: [
      `destroyed  epoch ${epoch} of ${profile}: ${countText(destroyed.envelopes, 'envelope')} overwritten and removed`,
      `ledger     entry ${destroyed.entry} says so`,
      ...honesty.map((line, at) => `${at === 0 ? 'careful  ' : '         '}  ${line}`),
    ],
  }
}

const honesty = [
  'what this VM had is gone. Copies are not: of the envelope, with its recovery key or this token,',
  'in backups of this VM, and in what an SSD or a copying file system has not yet reused',
]

function warning(profile: ProfileName, epoch: number, archives: number): readonly string[] {
  return [
    `No backup that was stored under epoch ${epoch} of ${profile} can be opened by this VM any more. This is not undone.`,
    ...honesty,
    ...(archives === 0
      ? []
      : [
          `Its passphrase was given to stock qvm-backup ${countText(archives, 'time')}: such archives are in no ledger, and are lost.`,
        ]),
  ]
}

/** Of the epoch, or of one that was not recorded. */
async function stockBackups(home: string, profile: ProfileName, epoch: number): Promise<number> {
  let count = 0
  for await (const one of readRecord(home))
    if (one.call === 'stock' && one.purpose === 'backup' && one.outcome === 'allowed')
      if (one.profile === profile && (one.epoch ?? epoch) === epoch) count += 1
  return count
}
