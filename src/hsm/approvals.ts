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
 */

const waitingMax = 32
/** Longer than a question stays on a screen. */
const codeMilliseconds: Milliseconds = 24 * 60 * 60 * 1000
/** More than a honest dom0 asks for in that time. */
const codesMax = 65_536

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
}

type Asked = Pick<ReleaseRequest, 'job' | 'profile' | 'purpose' | 'epoch' | 'initiator' | 'expires'>

export type Verdict = 'approved' | 'denied'

interface Waiting {
  readonly release: PendingRelease
  verdict: Verdict | null
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

  /** Throws `HSM_APPROVAL_MISSING` when nothing of this code waits. */
  decide(code: string, verdict: Verdict): PendingRelease {
    this.#forgetExpired()
    const found = [...this.#waiting.values()].find(
      one => one.verdict === null && one.release.code === code.toLowerCase(),
    )
    if (found === undefined)
      throw new HsmError('HSM_APPROVAL_MISSING', 'no release with this code waits for an answer')
    found.verdict = verdict
    return found.release
  }

  /** `true`: a person has said yes. Throws `HSM_REFUSED_DENIED`, `HSM_REFUSED_REQUEST`, `HSM_BUSY`. */
  isApproved(request: Asked, call: PendingRelease['call'] = 'release'): boolean {
    this.#forgetExpired()
    const known = this.#waiting.get(request.job)
    if (known === undefined) {
      this.#add(request, call)
      return false
    }
    const { release, verdict } = known
    // What was shown is what is released.
    for (const field of ['profile', 'purpose', 'epoch', 'initiator'] as const)
      if (release[field] !== request[field])
        throw new HsmError('HSM_REFUSED_REQUEST', `job ${request.job} was asked for with another ${field}`)
    if (verdict === 'denied') throw denied(request.job)
    return verdict === 'approved'
  }

  /** It was released for, and is no answer to anything else. */
  end(job: JobId): void {
    this.#waiting.delete(job)
    const meaning = this.#meanings.get(approvalCode(job))
    if (meaning?.release.job === job) meaning.ended = true
  }

  #add({ job, profile, purpose, epoch, initiator, expires }: Asked, call: PendingRelease['call']): void {
    if (this.#waiting.size >= waitingMax)
      throw new HsmError('HSM_BUSY', `${waitingMax} releases wait for a person`, { retry: true })
    const code = approvalCode(job)
    const release = { code, job, profile, purpose, call, epoch, initiator, asked: this.#clock.now(), expires }
    this.#mean(release)
    this.#waiting.set(job, { release, verdict: null })
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
