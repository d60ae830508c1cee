/** Weekdays of a calendar expression; 0 is Monday. Faults are RangeErrors. */

const names = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun']
const longNames = ['monday', 'tuesday', 'wednesday', 'thursday', 'friday', 'saturday', 'sunday']

/** `Mon`, `Mon..Fri`, `sat,sun`; long names too. */
export function parseWeekdays(text: string): ReadonlySet<number> {
  const weekdays = new Set<number>()
  for (const item of text.split(',')) {
    const [first = '', last = first, ...rest] = item.split(/\.\.|-/)
    const from = parseWeekday(first)
    const to = parseWeekday(last)
    if (rest.length > 0 || to < from)
      throw new RangeError('has a range of weekdays that does not run forward within Mon to Sun')
    for (let weekday = from; weekday <= to; weekday += 1) weekdays.add(weekday)
  }
  return weekdays
}

function parseWeekday(text: string): number {
  const lower = text.toLowerCase()
  const index =
    lower.length === 3 ? longNames.findIndex(name => name.startsWith(lower)) : longNames.indexOf(lower)
  if (index < 0) throw new RangeError('has a word that is no weekday; expected Mon to Sun')
  return index
}

/** As systemd does: three and more in a row become a range. */
export function formatWeekdays(weekdays: ReadonlySet<number>): string {
  const parts: string[] = []
  for (let from = 0; from < names.length; from += 1) {
    if (!weekdays.has(from)) continue
    let to = from
    while (weekdays.has(to + 1)) to += 1
    if (to - from >= 2) parts.push(`${names[from]}..${names[to]}`)
    else parts.push(...names.slice(from, to + 1))
    from = to
  }
  return parts.join(',')
}
