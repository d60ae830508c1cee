import { type Digest, dom0, type ProfileName, type VmName } from '../base/names.ts'
import { dayMilliseconds } from '../base/quantities.ts'
import { type Extent, type HsmBinding, type ReleasePurpose, sealedEpochs } from '../profiles/binding.ts'
import { describeHours, isWithinHours } from '../profiles/hours.ts'
import type { HsmErrorCode } from './errors.ts'
import type { ReleaseRequest } from './passphrase-service.ts'

/*
 * May this profile, for this job, have its passphrase now? Pure: everything it looks at is an argument.
 */

const minute = 60_000
/** dom0's clock may be ahead of this VM's by so much. */
export const clockSkewMillisecondsMax = 5 * minute
/** A request that is valid for longer would be a key to keep. */
export const validMillisecondsMax = 60 * minute

export interface ReleaseContext {
  /** As qrexec says. */
  readonly caller: VmName
  /** The argument of the call. */
  readonly profile: ProfileName
  /** Of this VM's own sealed copy; `null` when it has no such profile. */
  readonly binding: HsmBinding | null
  readonly configurationDigest: Digest
  readonly now: Date
  /** When passphrases of this profile were released before, in any order. */
  readonly releases: readonly Date[]
}

export interface RequestContext extends ReleaseContext {
  /** Where the request stands in the ledger. */
  readonly index: number
  readonly seenNonces: ReadonlySet<string>
  /** Requests below this index have been answered or have missed their time: their nonces are no longer kept. */
  readonly indexMin: number
}

type RefusalCode = Extract<HsmErrorCode, `HSM_REFUSED_${string}`>

export type Judgement =
  | { readonly allow: true }
  | { readonly allow: false; readonly code: RefusalCode; readonly reason: string }

const allowed: Judgement = { allow: true }

export function judge(request: ReleaseRequest, context: RequestContext): Judgement {
  const { binding, configurationDigest, profile } = context
  if (context.caller !== dom0) return refuseCaller(context.caller)
  if (request.profile !== profile)
    return refuse('HSM_REFUSED_REQUEST', `the request is for ${request.profile}, the call for ${profile}`)
  if (request.configuration !== configurationDigest)
    return refuse(
      'HSM_REFUSED_CONFIGURATION',
      `dom0 has configuration ${short(request.configuration)}, this VM ${short(configurationDigest)}`,
    )
  if (binding === null) return refuseProfile(profile)
  const otherEpoch = judgeEpoch(binding, request)
  if (!otherEpoch.allow) return otherEpoch
  if (!binding.purposes.includes(request.purpose))
    return refuse('HSM_REFUSED_PURPOSE', `'${request.purpose}' is not among ${quoted(binding.purposes)}`)
  return firstRefusal(
    judgeTime(request, context.now),
    judgeReplay(request, context),
    judgeHours(binding, request.purpose, context.now),
    judgeLimit(binding, context),
  )
}

/** What is new goes under the present key alone. */
function judgeEpoch(
  binding: HsmBinding,
  { epoch, purpose }: Pick<ReleaseRequest, 'epoch' | 'purpose'>,
): Judgement {
  const sealed = sealedEpochs(binding).map(one => one.epoch)
  if (!sealed.includes(epoch))
    return refuse('HSM_REFUSED_EPOCH', `epoch ${epoch} is asked for, ${sealed.join(', ')} are sealed`)
  if (epoch === binding.epoch || purpose !== 'backup') return allowed
  return refuse('HSM_REFUSED_EPOCH', `a backup in epoch ${epoch}; backups go into epoch ${binding.epoch}`)
}

/** What a call of stock Qubes is for: it carries the profile's name, and for a restore the epoch. */
export interface StockWanted {
  readonly purpose: Extract<ReleasePurpose, 'backup' | 'restore'>
  readonly epoch: number
}

/** For `qubes.BackupPassphrase` and its counterpart. */
export function judgeStock(wanted: StockWanted, context: ReleaseContext): Judgement {
  const { purpose } = wanted
  const { binding, caller, profile } = context
  if (caller !== dom0) return refuseCaller(caller)
  if (binding === null) return refuseProfile(profile)
  if (!binding.stockPassphrase)
    return refuse('HSM_REFUSED_PURPOSE', 'the sealed binding does not allow stock backups')
  if (binding.attestation !== 'none')
    return refuse(
      'HSM_REFUSED_ATTESTATION',
      'the sealed binding wants an attestation, which stock Qubes has not',
    )
  const otherEpoch = judgeEpoch(binding, wanted)
  if (!otherEpoch.allow) return otherEpoch
  if (!binding.purposes.includes(purpose))
    return refuse('HSM_REFUSED_PURPOSE', `'${purpose}' is not among ${quoted(binding.purposes)}`)
  return firstRefusal(judgeHours(binding, purpose, context.now), judgeLimit(binding, context))
}

/** Whether a person must say yes to this one. */
export function asksPerson({ approve }: HsmBinding, purpose: ReleasePurpose): boolean {
  return covers(approve, purpose)
}

/** Whether her yes counts only with the PIN of the token. */
export function asksPin({ pinAgain }: HsmBinding, purpose: ReleasePurpose): boolean {
  return covers(pinAgain, purpose)
}

function covers(extent: Extent, purpose: ReleasePurpose): boolean {
  return extent === 'always' || (extent === 'restore' && purpose === 'restore')
}

/** A restore is wanted when it is wanted. */
function judgeHours({ hours }: HsmBinding, purpose: ReleasePurpose, now: Date): Judgement {
  if (hours === null || purpose === 'restore' || isWithinHours(hours, now)) return allowed
  return refuse('HSM_REFUSED_HOURS', `'${purpose}' is released from ${describeHours(hours)}`)
}

function judgeTime({ time, expires }: ReleaseRequest, now: Date): Judgement {
  if (expires <= now) return refuse('HSM_REFUSED_EXPIRED', `it expired at ${expires.toISOString()}`)
  if (time.getTime() > now.getTime() + clockSkewMillisecondsMax)
    return refuse('HSM_REFUSED_EXPIRED', `it was made at ${time.toISOString()}, in the future`)
  if (expires.getTime() - time.getTime() > validMillisecondsMax)
    return refuse(
      'HSM_REFUSED_EXPIRED',
      `it would be valid for more than ${validMillisecondsMax / minute} minutes`,
    )
  return allowed
}

function judgeReplay({ nonce }: ReleaseRequest, { index, indexMin, seenNonces }: RequestContext): Judgement {
  if (seenNonces.has(nonce)) return refuse('HSM_REFUSED_REPLAYED', 'its nonce was seen before')
  if (index < indexMin)
    return refuse('HSM_REFUSED_REPLAYED', `entry ${index} is older than all that are remembered`)
  return allowed
}

/** Any 24 hours, and times after `now` count: a clock that was set back must not lift the limit. */
function judgeLimit({ releasesPerDay }: HsmBinding, { releases, now }: ReleaseContext): Judgement {
  if (releasesPerDay === null) return allowed
  const recent = releases.filter(time => time.getTime() > now.getTime() - dayMilliseconds).length
  if (recent < releasesPerDay) return allowed
  return refuse('HSM_REFUSED_LIMIT', `${recent} releases within 24 hours; ${releasesPerDay} are allowed`)
}

function firstRefusal(...judgements: readonly Judgement[]): Judgement {
  return judgements.find(({ allow }) => !allow) ?? allowed
}

function refuseCaller(caller: VmName): Judgement {
  return refuse('HSM_REFUSED_CALLER', `${caller} asked for a passphrase`)
}

function refuseProfile(profile: ProfileName): Judgement {
  return refuse('HSM_REFUSED_PROFILE', `the sealed configuration has no profile '${profile}'`)
}

function refuse(code: RefusalCode, reason: string): Judgement {
  return { allow: false, code, reason }
}

function short(digest: Digest): string {
  return `${digest.slice(0, 12)}…`
}

function quoted(purposes: readonly string[]): string {
  return purposes.map(purpose => `'${purpose}'`).join(', ') || 'nothing'
}
