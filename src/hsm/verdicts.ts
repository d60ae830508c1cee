import type { Clock } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import type { Secret } from '../base/secret.ts'
import { Serially } from '../base/serially.ts'
import type { Approvals, PendingRelease, Verdict } from './approvals.ts'
import { HsmError } from './errors.ts'
import type { ProvePin } from './pin-proof.ts'
import type { HsmStore } from './store.ts'

/* What a person says to a release that waits, and the PIN of the token where the sealed binding wants it with her yes. */

export interface Said {
  readonly code: string
  readonly verdict: Verdict
  /** Of the token; `null`: none was given. */
  readonly pin: Secret | null
}

export interface VerdictPorts {
  readonly approvals: Approvals
  readonly store: Pick<HsmStore, 'recordDenied'>
  readonly clock: Pick<Clock, 'now'>
  readonly log: Log
  readonly provePin: ProvePin
}

export class Verdicts {
  readonly #ports: VerdictPorts
  /** Two PINs at once could both be the last wrong one that is let through. */
  readonly #proofs = new Serially()

  constructor(ports: VerdictPorts) {
    this.#ports = ports
  }

  /**
   * Ends the PIN that is given. Throws `HSM_APPROVAL_MISSING`; `HSM_PIN_WANTED`, after which the release goes on waiting, as it does
   * where the token could not be asked; `HSM_PIN_WRONG`, which says whether it is denied by now.
   */
  async say({ code, verdict, pin }: Said, signal: AbortSignal): Promise<void> {
    using given = pin
    const { approvals } = this.#ports
    const proven = verdict === 'approved' && given !== null ? await this.#proven(code, given, signal) : null
    const release = approvals.decide(code, verdict, proven)
    if (verdict === 'denied') await this.#recordDenied(release)
  }

  /** The release for which the PIN is right; `null`: it wants none, and the token is asked nothing. */
  #proven(code: string, pin: Secret, signal: AbortSignal): Promise<PendingRelease | null> {
    return this.#proofs.run(async () => {
      const release = this.#ports.approvals.waiting(code)
      if (!release.wantsPin) return null
      try {
        await this.#ports.provePin(pin, signal)
        return release
      } catch (error) {
        if (error instanceof HsmError && error.code === 'HSM_PIN_WRONG')
          throw await this.#wrong(release, error)
        throw error
      }
    })
  }

  async #wrong(release: PendingRelease, cause: HsmError): Promise<HsmError> {
    const { approvals, log } = this.#ports
    const left = approvals.countWrongPin(release)
    log.warn('a wrong PIN was given for a release', { job: release.job, profile: release.profile, left })
    if (left > 0)
      return new HsmError('HSM_PIN_WRONG', `${cause.message}; after ${left} more the release is denied`, {
        cause,
        hint: 'give the right one; a PIN that the token has refused is not sent to it again',
      })
    await this.#recordDenied(release)
    return new HsmError('HSM_PIN_WRONG', `${cause.message}; the release is denied`, {
      cause,
      hint: 'order anew, and give the right PIN',
    })
  }

  /** Not only when dom0 asks again: one that waits until the request has expired would find nothing of her no. */
  async #recordDenied({ job, profile, purpose, epoch, call }: PendingRelease): Promise<void> {
    const { store, clock } = this.#ports
    await store.recordDenied({ job, profile, purpose, epoch, call, time: clock.now() })
  }
}
