/*
 * A clock may be wrong for a while; the order of the ledger is not. What is believed of the times is the most of them that
 * can be true together: the longest run that never goes back. One wrong time, ahead or behind, is then one that is not
 * believed, where "never earlier than the one before" would let a single time in the far future swallow all after it.
 */

/** For each of `times`, in the order in which they were recorded, whether it is believed; of several longest runs the one that ends earliest. */
export function believedTimes(times: readonly number[]): readonly boolean[] {
  /** At [n]: where the run of n + 1 times that ends earliest has its end. */
  const ends: number[] = []
  const before: (number | undefined)[] = []
  for (const [at, time] of times.entries()) {
    const length = countUntil(ends, end => (times[end] ?? 0) > time)
    before.push(ends[length - 1])
    ends[length] = at
  }
  const believed = times.map(() => false)
  for (let at = ends.at(-1); at !== undefined; at = before[at]) believed[at] = true
  return believed
}

/** How many come before the first that satisfies `beyond`; none that satisfies it comes before one that does not. */
function countUntil(items: readonly number[], beyond: (item: number) => boolean): number {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (beyond(items[middle] ?? 0)) high = middle
    else low = middle + 1
  }
  return low
}
