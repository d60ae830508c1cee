import { BaseError } from './base-errors.ts'
import type { Milliseconds } from './brand.ts'
import { GiB, KiB, MiB } from './bytes.ts'
import type { Clock } from './environment.ts'
import { printable } from './errors.ts'

/* Amounts as people read and write them. */

/** As long as most are: a day of the calendar may have an hour more or less. */
export const dayMilliseconds: Milliseconds = 86_400_000
const rateWindowMilliseconds: Milliseconds = 15_000
const TiB = 1024 * GiB
const units = [
  [TiB, 'TiB'],
  [GiB, 'GiB'],
  [MiB, 'MiB'],
  [KiB, 'KiB'],
] as const

export function bytesText(bytes: number): string {
  const [unit, name] = units.find(([size]) => bytes >= size) ?? [1, 'B']
  return unit === 1 ? `${Math.round(bytes)} B` : `${(bytes / unit).toFixed(1)} ${name}`
}

/** `1 volume`, `2 volumes`. */
export function countText(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}

/** `500K`, `50M`, `2G`, `1T`, or plain bytes; at least 1. */
export function parseBytes(untrustedText: string): number {
  const [, digits = '', letter = ''] = /^(\d{1,6})([KMGT]?)$/.exec(untrustedText) ?? []
  const [unit] = units.find(([, name]) => name[0] === letter) ?? [1]
  const bytes = Number(digits) * unit
  if (bytes > 0) return bytes
  throw new BaseError(
    'FIELD_INVALID',
    `not a number of bytes: '${printable(untrustedText).slice(0, 40)}'; expected e.g. 50M`,
  )
}

/** `0:42`, `12:05`, `3:07:00`. */
export function durationText(milliseconds: Milliseconds): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000))
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
  const [hours = 0, minutes = 0, rest = 0] = parts
  const two = (value: number) => String(value).padStart(2, '0')
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`
}

/** Bytes a second over the last moments: a mean since the beginning hides that a job has come to a halt. */
export function rateMeter(clock: Clock): (bytesDone: number) => number {
  let samples: { readonly at: number; readonly bytes: number }[] = []
  return bytesDone => {
    const now = clock.monotonic()
    samples = samples.filter(({ at }) => now - at <= rateWindowMilliseconds)
    samples.push({ at: now, bytes: bytesDone })
    const [first] = samples
    if (first === undefined || now === first.at) return 0
    return Math.max(0, ((bytesDone - first.bytes) / (now - first.at)) * 1000)
  }
}

/** `1.0 GiB of 4.0 GiB  120.0 MiB/s  0:26 left`. */
export function amountText(done: number, total: number, perSecond: number): string {
  const left = perSecond > 0 ? durationText(((total - done) / perSecond) * 1000) : '-:--'
  return `${bytesText(done)} of ${bytesText(total)}  ${bytesText(perSecond)}/s  ${left} left`
}
