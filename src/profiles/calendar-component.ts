/*
 * One component of a calendar expression: a list of values `3`, ranges `1..5`, and either with a step `/2`. A value
 * with a step and no range goes on to the end. All faults are RangeErrors, which the caller turns into its own.
 */

const itemsMax = 60

export interface CalendarItem {
  readonly start: number
  readonly stop: number | null
  readonly step: number | null
}
export type CalendarComponent = readonly CalendarItem[]

/** `null` for `*`: every value. */
export function parseComponent(
  text: string,
  what: string,
  min: number,
  max: number,
): CalendarComponent | null {
  if (text === '*') return null
  const items = text.split(',').map(item => parseItem(item, what, min, max))
  if (items.length > itemsMax) throw new RangeError(`has more than ${itemsMax} values of ${what}`)
  return items.sort(
    (a, b) => a.start - b.start || (a.stop ?? 0) - (b.stop ?? 0) || (a.step ?? 0) - (b.step ?? 0),
  )
}

function parseItem(text: string, what: string, min: number, max: number): CalendarItem {
  const match = /^([0-9]{1,4})(?:\.\.([0-9]{1,4}))?(?:\/([0-9]{1,4}))?$/.exec(text)
  if (match === null) throw new RangeError(`has a ${what} that is no number, range or step`)
  const start = Number(match[1])
  const stop = match[2] === undefined ? null : Number(match[2])
  const step = match[3] === undefined ? null : Number(match[3])
  if (start < min || start > max || (stop !== null && (stop < start || stop > max)))
    throw new RangeError(`has a ${what} out of range; expected ${min} to ${max}, the lower first`)
  if (step === 0) throw new RangeError(`has a ${what} with a step of 0`)
  return { start, stop, step }
}

/** All values, ascending. */
export function expand(component: CalendarComponent | null, min: number, max: number): ReadonlySet<number> {
  const values: number[] = []
  for (const { start, stop, step } of component ?? [{ start: min, stop: max, step: 1 }]) {
    const last = Math.min(stop ?? (step === null ? start : max), max)
    for (let value = start; value <= last; value += step ?? 1) if (value >= min) values.push(value)
  }
  return new Set(values.sort((a, b) => a - b))
}

export function formatComponent(component: CalendarComponent | null, digits: number): string {
  if (component === null) return '*'
  const items = component.map(({ start, stop, step }) => {
    const range = stop === null ? pad(start, digits) : `${pad(start, digits)}..${pad(stop, digits)}`
    return step === null || (step === 1 && stop !== null) ? range : `${range}/${step}`
  })
  return [...new Set(items)].join(',')
}

function pad(value: number, digits: number): string {
  return String(value).padStart(digits, '0')
}
