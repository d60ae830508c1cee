import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { checkFileSystem, makeFileSystem } from './images/ext4.ts'
import { type Kind, stageFirstDay } from './images/first-day.ts'
import { makeNextDay } from './images/next-day.ts'
import { parseSize } from './size.ts'

/*
 * Makes disk images that look like the volumes of a VM, on two consecutive days:
 *
 *   DIR/day1/root.img  DIR/day1/private.img      ext4, half full; documents are files of this machine's /usr
 *   DIR/day2/…                                   the same after a day of scattered changes, 3 % of what is in use
 *
 * Results compare only between runs on the same images, since /usr differs from machine to machine.
 *
 *   node bench/images.ts --images DIR [--size 512M] [--seed TEXT]
 */

const kinds: readonly Kind[] = ['root', 'private']
const filled = 0.5
/** ext4 keeps something for itself. */
const filledWithFiles = 0.97
const changed = 0.03

export function makeImages(directory: string, bytes: number, seed: string): void {
  for (const day of ['day1', 'day2']) fs.mkdirSync(path.join(directory, day), { recursive: true })
  for (const kind of kinds) {
    const staged = fs.mkdtempSync(path.join(directory, 'staged-'))
    try {
      const files = stageFirstDay(staged, kind, seed, bytes * filled * filledWithFiles)
      const before = path.join(directory, 'day1', `${kind}.img`)
      const after = path.join(directory, 'day2', `${kind}.img`)
      makeFileSystem(before, bytes, staged, kind)
      makeNextDay({ before, after, kind, seed, files, staged, bytesChanged: bytes * filled * changed })
      for (const image of [before, after]) checkFileSystem(image)
    } finally {
      fs.rmSync(staged, { recursive: true })
    }
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const { values } = parseArgs({
    options: {
      images: { type: 'string' },
      size: { type: 'string', default: '512M' },
      seed: { type: 'string', default: 'strongroom' },
    },
  })
  if (values.images === undefined) throw new Error('where to? say --images DIR')
  makeImages(values.images, parseSize(values.size), values.seed)
}
