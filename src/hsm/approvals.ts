import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'
import type { JobId, ProfileName, VmName } from '../base/names.ts'
import type { Purpose } from '../ledger/entry.ts'
import { HsmError } from './errors.ts'
import type { ReleaseRequest } from './passphrase-service.ts'

/*
 * Releases that wait for a person. dom0 asks again and again until she has decided; nobody's call is held meanwhile. What nobody
 * decides is denied when the request expires, and a denial is final for its job.
 *
 * Whoever decides names a code, perhaps of a question that has been on her screen for a while. So a code means what it meant when it
 * was first shown: a compromised dom0 could otherwise let a harmless question expire and have her yes fall on another one.
 *
 * Where the sealed binding wants the PIN with her yes, a yes counts only for the very release for which the PIN was proven.
 */

const waitingMax = 32
/** Longer than a question stays on a screen. */
const codeMilliseconds: Milliseconds = 24 * 60 * 60 * 1000
/** More than a honest dom0 asks for in that time. */
const codesMax = 65_536
/** Some tokens lock at the third, and do not say so before. */
const wrongPinsMax = 2

export interface PendingRelease {
  /** Part of the job's id, which whoever ordered it sees as well: the two compare it. */
  readonly code: string
  readonly job: JobId
  readonly profile: ProfileName
  readonly purpose: Purpose
  /** `stock`: of Qubes' own tools, which show no code to whoever started them. */
  readonly call: 'release' | 'stock'
  readonly epoch: number
  readonly initiator: VmName
  readonly asked: Date
  readonly expires: Date
  /** A yes counts only with the PIN of the token. */
  readonly wantsPin: boolean
}

type Asked = Pick<ReleaseRequest, 'job' | 'profile' | 'purpose' | 'epoch' | 'initiator' | 'expires'>

export type Verdict = 'approved' | 'denied'

interface Waiting {
  readonly release: PendingRelease
  verdict: Verdict | null
  wrongPins: number
}

/** What a code was shown for. */
interface Meaning {
  readonly release: PendingRelease
  /** It was released for: the same job may ask for its next epoch. */
  ended: boolean
}

export class Approvals {
  readonly #clock: Pick<Clock, 'now'>
  readonly #waiting = new Map<JobId, Waiting>()
  /** By code, the oldest first. */
  readonly #meanings = new Map<string, Meaning>()

  constructor(clock: Pick<Clock, 'now'>) {
    this.#clock = clock
  }

  /** Waiting for a verdict, the oldest first. */
  list(): readonly PendingRelease[] {
    this.#forgetExpired()
    return [...this.#waiting.values()].filter(({ verdict }) => verdict === null).map(({ release }) => release)
  }

  /** What waits under this code. Throws `HSM_APPROVAL_MISSING`. */
  waiting(code: string): PendingRelease {
    return this.#find(code).release
  }

  /**
   * `proven`: the release for which the PIN was given, and was right. Throws `HSM_APPROVAL_MISSING` when nothing of this code
   * waits, `HSM_PIN_WANTED` for a yes without the PIN where it is wanted; then it goes on waiting.
   */
  decide(code: string, verdict: Verdict, proven: PendingRelease | null = null): PendingRelease {
    const found = this.#find(code)
    const { release } = found
    // Another release may wait under the same code by now: the next epoch of the job.
    if (verdict === 'approved' && release.wantsPin && proven !== release)
      throw new HsmError('HSM_PIN_WANTED', `the release for job ${release.job} wants the PIN with your yes`)
    found.verdict = verdict
    return release
  }

  /** A wrong PIN was given for it. Returns how many more it may be; after the last it is denied. */
  countWrongPin(release: PendingRelease): number {
    const found = this.#waiting.get(release.job)
    if (found?.release !== release || found.verdict !== null) return 0
    found.wrongPins += 1
    if (found.wrongPins >= wrongPinsMax) found.verdict = 'denied'
    return wrongPinsMax - found.wrongPins
  }

  #find(code: string): Waiting {
    this.#forgetExpired()
    const found = [...this.#waiting.values()].find(
      one => one.verdict === null && one.release.code === code.toLowerCase(),
    )
    if (found !== undefined) return found
    throw new HsmError('HSM_APPROVAL_MISSING', 'no release with this code waits for an answer')
  }

  /** `true`: a person has said yes. Throws `HSM_REFUSED_DENIED`, `HSM_REFUSED_REQUEST`, `HSM_BUSY`. */
  isApproved(request: Asked, wantsPin: boolean, call: PendingRelease['call'] = 'release'): boolean {
    this.#forgetExpired()
    const known = this.#waiting.get(request.job)
    if (known === undefined) {
      this.#add(request, wantsPin, call)
      return false
    }
    const { release, verdict } = known
    // What was shown is what is released.
    for (const field of ['profile', 'purpose', 'epoch', 'initiator'] as const)
      if (release[field] !== request[field])
        throw new HsmError('HSM_REFUSED_REQUEST', `job ${request.job} was asked for with another ${field}`)
    // Sealed meanwhile: a yes that was given without the PIN is none.
    if (wantsPin && !release.wantsPin)
      throw new HsmError('HSM_REFUSED_REQUEST', `job ${request.job} was shown before the PIN was wanted`)
    if (verdict === 'denied') throw denied(request.job)
    return verdict === 'approved'
  }

  /** It was released for, and is no answer to anything else. */
  end(job: JobId): void {
    this.#waiting.delete(job)
    const meaning = this.#meanings.get(approvalCode(job))
    if (meaning?.release.job === job) meaning.ended = true
  }

  #add(request: Asked, wantsPin: boolean, call: PendingRelease['call']): void {
    const { job, profile, purpose, epoch, initiator, expires } = request
    if (this.#waiting.size >= waitingMax)
      throw new HsmError('HSM_BUSY', `${waitingMax} releases wait for a person`, { retry: true })
    const code = approvalCode(job)
    const shown = { code, job, profile, purpose, call, epoch, initiator, expires }
    const release = { ...shown, asked: this.#clock.now(), wantsPin }
    this.#mean(release)
    this.#waiting.set(job, { release, verdict: null, wrongPins: 0 })
  }

  /** Throws `HSM_REFUSED_REQUEST` when the code was shown for something else, `HSM_BUSY`. */
  #mean(release: PendingRelease): void {
    const { code } = release
    const oldest = release.asked.getTime() - codeMilliseconds
    for (const [other, meaning] of this.#meanings) {
      if (meaning.release.asked.getTime() > oldest) break
      this.#meanings.delete(other)
    }
    const before = this.#meanings.get(code)
    for (const field of ['job', 'profile', 'purpose', 'call', 'initiator', 'epoch'] as const)
      if (before !== undefined && before.release[field] !== release[field])
        if (field !== 'epoch' || !before.ended)
          throw new HsmError('HSM_REFUSED_REQUEST', `this code was shown for another ${field}`)
    if (before === undefined && this.#meanings.size >= codesMax)
      throw new HsmError('HSM_BUSY', `a person was asked ${codesMax} times within a day`, { retry: true })
    this.#meanings.delete(code)
    this.#meanings.set(code, { release, ended: false })
  }

  /** One that was denied stays for as long as it could have been asked for. */
  #forgetExpired(): void {
    const now = this.#clock.now()
    for (const [job, { release }] of this.#waiting) if (release.expires <= now) this.#waiting.delete(job)
  }
}

export function denied(job: JobId): HsmError {
  return new HsmError('HSM_REFUSED_DENIED', `the release for job ${job} was denied`)
}

/** The random part of a job's id, in two groups. */
export function approvalCode(job: JobId): string {
  return job.slice(-8).replace(/(.{4})/, '$1-')
}
