import fs from 'node:fs'
import path from 'node:path'

/* Which blocks of each image are other ones on the second day, as a thin pool would tell. */

/** The usual block of a thin pool. */
const blockBytes = 64 * 1024
const readBytes = 256 * blockBytes

/** Offset and length, ascending, not adjacent. */
export type Ranges = readonly (readonly [number, number])[]

/** By the name of the image. */
export function findChanges(images: string): Readonly<Record<string, Ranges>> {
  const names = fs.readdirSync(path.join(images, 'day2'))
  return Object.fromEntries(
    names.map(name => [name, changed(path.join(images, 'day1', name), path.join(images, 'day2', name))]),
  )
}

function changed(before: string, after: string): Ranges {
  const files = [before, after].map(file => fs.openSync(file, 'r')) as [number, number]
  const [one, other] = [Buffer.alloc(readBytes), Buffer.alloc(readBytes)]
  const ranges: [number, number][] = []
  try {
    const { size } = fs.fstatSync(files[1])
    for (let at = 0; at < size; at += readBytes) {
      const length = fs.readSync(files[1], other, 0, readBytes, at)
      one.fill(0)
      fs.readSync(files[0], one, 0, length, at)
      for (let block = 0; block < length; block += blockBytes) {
        const end = Math.min(block + blockBytes, length)
        if (one.compare(other, block, end, block, end) === 0) continue
        const last = ranges.at(-1)
        if (last !== undefined && last[0] + last[1] === at + block) last[1] += end - block
        else ranges.push([at + block, end - block])
      }
    }
  } finally {
    for (const file of files) fs.closeSync(file)
  }
  return ranges
}
