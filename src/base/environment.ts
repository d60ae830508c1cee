import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import type { Milliseconds } from './brand.ts'
import { toHex } from './bytes.ts'
import type { JobId } from './names.ts'

/** Time enters here only; everything else is given a clock. */
export interface Clock {
  now(): Date
  /** Never goes back; its zero means nothing. */
  monotonic(): Milliseconds
  /** Rejects with the signal's reason when aborted. */
  sleep(duration: Milliseconds, signal?: AbortSignal): Promise<void>
}

/** Unpredictability enters here only. */
export interface Entropy {
  bytes(length: number): Uint8Array
}

export interface Environment {
  readonly clock: Clock
  readonly entropy: Entropy
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonic: () => performance.now(),
  sleep: (duration, signal) => delay(duration, undefined, signal ? { signal } : {}),
}

export const systemEntropy: Entropy = {
  bytes: length => new Uint8Array(randomBytes(length)),
}

export const systemEnvironment: Environment = { clock: systemClock, entropy: systemEntropy }

/** A new job's id, sorted by time. */
export function newJobId({ clock, entropy }: Environment): JobId {
  const time = clock
    .now()
    .toISOString()
    .replace(/[-:]|\.\d+/g, '')
  return `${time}-${toHex(entropy.bytes(4))}` as JobId
}

/**
 * A signal that aborts after `duration`, or with `signal`, with a reason made by `reason`. The timer does not hold the process, but
 * until then all that `reason` can reach: what is over before is disposed of where there may be many.
 */
export function deadline(
  duration: Milliseconds,
  reason: () => Error,
  signal?: AbortSignal,
): AbortSignal & Disposable {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(reason()), duration)
  timer.unref()
  const stop = signal ? AbortSignal.any([controller.signal, signal]) : controller.signal
  return Object.assign(stop, { [Symbol.dispose]: () => clearTimeout(timer) })
}
