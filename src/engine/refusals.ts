import type { ErrorReport } from '../base/errors.ts'
import { isPassing } from '../base/errors.ts'
import type { EntryOf } from '../ledger/entry.ts'
import type { EnginePorts } from './ports.ts'

/** A flood of senseless orders must not fill the ledger: beyond this, refusals are counted and recorded in one entry. */
const recordedPerHourMax = 120
const hourMilliseconds = 3_600_000

type Refusal = Omit<EntryOf<'refusal'>, 'type' | 'alsoRefused'>

/** Records every refused order in the ledger, each by itself or, in a flood, with the number of those it stands for. */
export class Refusals {
  readonly #ports: Pick<EnginePorts, 'environment' | 'ledger' | 'log'>
  readonly #recorded: number[] = []
  /** The newest refusal that is not recorded, and how many there are before it. */
  #held: { readonly refusal: Refusal; readonly before: number } | null = null

  constructor(ports: Pick<EnginePorts, 'environment' | 'ledger' | 'log'>) {
    this.#ports = ports
  }

  /** Never throws: a refusal that cannot be recorded is still one, and is in the log. */
  async record(refusal: Refusal): Promise<void> {
    this.#held = { refusal, before: this.#held === null ? 0 : this.#held.before + 1 }
    if (this.#hasRoom()) await this.flush()
  }

  /** Records what a flood has left, as soon as there is room. To be called now and then. */
  async recordHeld(): Promise<void> {
    if (this.#held !== null && this.#hasRoom()) await this.flush()
  }

  /** Records what a flood has left at once; before dom0 stops. */
  async flush(): Promise<void> {
    if (this.#held === null) return
    const { refusal, before } = this.#held
    this.#held = null
    this.#recorded.push(this.#ports.environment.clock.monotonic())
    await this.#ports.ledger
      .append([{ type: 'refusal', ...refusal, alsoRefused: before === 0 ? undefined : before }])
      .catch(error => this.#ports.log.error('a refusal could not be recorded', { job: refusal.job, error }))
  }

  #hasRoom(): boolean {
    const oldest = this.#ports.environment.clock.monotonic() - hourMilliseconds
    while ((this.#recorded[0] ?? Number.POSITIVE_INFINITY) < oldest) this.#recorded.shift()
    return this.#recorded.length < recordedPerHourMax
  }
}

/** Someone said no: a rule of dom0's, or the HSM VM, whatever its reason is but that it could not be asked. */
export function isRefusal(report: ErrorReport): boolean {
  return report.kind === 'refused' || (report.code.startsWith('HSM_') && !isPassing(report))
}
