import { BaseError } from './base-errors.ts'
import type { Brand } from './brand.ts'
import { printable } from './errors.ts'

/**
 * How much of the stored data a check reads, as it is ordered and recorded: `structure`, `all`, `5%`, `1/7`, or `30d`.
 * What each means is `Reading`.
 */
export type ReadChoice = Brand<string, 'ReadChoice'>

export type Reading =
  /** No data at all; every byte of it. */
  | { readonly kind: 'structure' | 'all' }
  /** At least so many percent of the bytes, those that were not read for the longest time. */
  | { readonly kind: 'share'; readonly percent: number }
  /** Part 1 to `of` of `of`, as in restic's `--read-data-subset n/t`. */
  | { readonly kind: 'part'; readonly part: number; readonly of: number }
  /** As much as it takes that everything is read within so many days. */
  | { readonly kind: 'cycle'; readonly days: number }

const partsMax = 256
const daysMax = 36_500

export function parseReadChoice(untrustedText: string): ReadChoice {
  if (typeof untrustedText === 'string' && readingIn(untrustedText) !== null)
    return untrustedText as ReadChoice
  throw new BaseError(
    'NAME_INVALID',
    `not a choice of what a check reads: '${printable(String(untrustedText)).slice(0, 40)}'; expected structure, all, a share like 5% or 1/7 (at most ${partsMax} parts), or days like 30d (at most ${daysMax})`,
  )
}

export function readingOf(choice: ReadChoice): Reading {
  const reading = readingIn(choice)
  if (reading === null) throw new Error('a choice that was not parsed')
  return reading
}

/** What a text orders; `null` when it is no choice. */
export function readingIn(text: string): Reading | null {
  if (text === 'structure' || text === 'all') return { kind: text }
  const [, percent] = /^(\d{1,3}(?:\.\d{1,2})?)%$/.exec(text) ?? []
  if (percent !== undefined)
    return within(Number(percent), 0.01, 100, { kind: 'share', percent: Number(percent) })
  const [, days] = /^([1-9]\d{0,4})d$/.exec(text) ?? []
  if (days !== undefined) return within(Number(days), 1, daysMax, { kind: 'cycle', days: Number(days) })
  const [, part, of] = /^([1-9]\d{0,2})\/([1-9]\d{0,2})$/.exec(text) ?? []
  if (part === undefined || of === undefined || Number(of) > partsMax) return null
  return within(Number(part), 1, Number(of), { kind: 'part', part: Number(part), of: Number(of) })
}

function within(value: number, min: number, max: number, reading: Reading): Reading | null {
  return value >= min && value <= max ? reading : null
}
