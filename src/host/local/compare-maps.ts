import { Sha256 } from '../../crypto/digest.ts'
import type { Commands } from '../commands.ts'
import { HostError } from '../errors.ts'
import { ExtentList, grainBytesMin } from '../extent-list.ts'
import type { Extent } from '../volumes.ts'
import { type MappedRange, mapFile, type OpenFile } from './file-map.ts'

/** Holes and data of one file. Throws `VOLUME_MAP` or `COMMAND_FAILED`. */
export async function holesOf(
  commands: Commands,
  file: OpenFile,
  signal: AbortSignal,
): Promise<readonly Extent[]> {
  const list = new ExtentList(file.bytes)
  for await (const { offset, end } of mapFile(commands, file, signal)) {
    list.add('hole', offset)
    list.add('data', end)
  }
  list.add('hole', file.bytes)
  return list.finish()
}

/**
 * What in `now` is the same as in `before`: the ranges that both have at the same place on the disk. Both are copies
 * that share blocks with each other, of the same size, on one file system, and neither is written to. Throws
 * `VOLUME_MAP` or `COMMAND_FAILED`.
 */
export async function changesBetween(
  commands: Commands,
  before: OpenFile,
  now: OpenFile,
  signal: AbortSignal,
): Promise<readonly Extent[]> {
  const first = new Sha256()
  const extents = await compareMaps(
    mapFile(commands, before, signal, line => first.update(Buffer.from(`${line}\n`))),
    mapFile(commands, now, signal),
    now.bytes,
  )
  // While blocks are being moved (a balance, a defragmentation), an address can have meant two things in two maps.
  // It did not if the first map still holds after the second was read.
  const second = new Sha256()
  for await (const _ of mapFile(commands, before, signal, line => second.update(Buffer.from(`${line}\n`))));
  if (first.finish() !== second.finish())
    throw new HostError('VOLUME_MAP', 'the file system moved blocks meanwhile')
  return extents
}

/** Both maps in step. */
export async function compareMaps(
  before: AsyncIterable<MappedRange>,
  now: AsyncIterable<MappedRange>,
  bytes: number,
): Promise<readonly Extent[]> {
  await using old = cursorOf(before)
  await using fresh = cursorOf(now)
  const list = new ExtentList(bytes)
  while (list.end < bytes) {
    const at = list.end
    const was = await old.at(at)
    const is = await fresh.at(at)
    const end = Math.min(bytes, was.end, is.end)
    if (is.range === null) {
      // Zeros then and now: if there are few, they may as well belong to what is unchanged around them.
      const unchanged = was.range === null && end - at < grainBytesMin
      list.add(unchanged ? 'unchanged' : 'hole', end)
    } else list.add(isSame(was.range, is.range) ? 'unchanged' : 'data', end)
  }
  // To the end, where a map says whether it is to be believed.
  await old.at(Number.POSITIVE_INFINITY)
  await fresh.at(Number.POSITIVE_INFINITY)
  return list.finish()
}

function isSame(was: MappedRange | null, is: MappedRange): boolean {
  return (
    was !== null &&
    was.shared !== null &&
    is.shared !== null &&
    was.shared - was.offset === is.shared - is.offset
  )
}

interface Cursor extends AsyncDisposable {
  /** The range at an offset, `null` where there is none, and where that ends. Offsets ascend. */
  at(offset: number): Promise<{ readonly range: MappedRange | null; readonly end: number }>
}

function cursorOf(ranges: AsyncIterable<MappedRange>): Cursor {
  const iterator = ranges[Symbol.asyncIterator]()
  let next: MappedRange | null | undefined
  const step = async () => {
    const { done, value } = await iterator.next()
    next = done ? null : value
  }
  return {
    async at(offset) {
      if (next === undefined) await step()
      while (next && next.end <= offset) await step()
      if (!next) return { range: null, end: Number.POSITIVE_INFINITY }
      return next.offset <= offset ? { range: next, end: next.end } : { range: null, end: next.offset }
    },
    async [Symbol.asyncDispose]() {
      await iterator.return?.()
    },
  }
}
