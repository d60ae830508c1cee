import { readdir, realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import { reportOf } from '../../src/base/errors.ts'
import { makePrivateDirectory } from '../../src/base/files.ts'
import { dom0, parseVmName } from '../../src/base/names.ts'
import { type LocalHome, serviceVms } from '../../src/main/local-home.ts'
import { copySparse, makeImage, useForADay } from './images.ts'
import type { GuestVm } from './provision.ts'

/* The VMs of a quickstart: two that are made here, or one for each of a person's own images. */

const MiB = 1024 * 1024
const imageName = /^(.+)\.(?:img|raw)$/
const image = 'private.img'
const reserved = new Set<string>([dom0, ...Object.values(serviceVms)])

const plans = [
  { name: 'work', bytes: 768 * MiB, fill: 160 * MiB },
  { name: 'personal', bytes: 512 * MiB, fill: 80 * MiB },
]
const sources = [
  '/usr/share/doc',
  '/usr/share/perl',
  '/usr/share/zoneinfo',
  '/usr/lib/python3',
  '/usr/include',
  '/usr/share',
]

export interface Guests {
  readonly title: string
  readonly names: readonly string[]
  /** What the second day is like, in words. */
  readonly nextDay: string
  make(note: (text: string) => void): Promise<readonly GuestVm[]>
  useForADay(): Promise<void>
}

export function madeGuests(home: LocalHome): Guests {
  const file = (name: string) => path.join(home.machine, name, image)
  return {
    title: 'Two VMs with real ext4 images',
    names: plans.map(({ name }) => name),
    nextDay: 'The VMs are used for a day: a letter rewritten, a photo added',
    async make(note) {
      for (const { name, bytes, fill } of plans) {
        await makePrivateDirectory(path.dirname(file(name)))
        await makeImage(file(name), name, bytes, fill, sources)
        const used = Math.round(((await stat(file(name))).blocks * 512) / MiB)
        note(`${name}: ${bytes / MiB} MiB, ${used} MiB in use`)
      }
      return plans.map(({ name }) => ({ name, image }))
    },
    async useForADay() {
      for (const { name } of plans) await useForADay(file(name), name)
    },
  }
}

/**
 * Each *.img and *.raw of `directory` becomes the private volume of a VM of its name; the originals are only read. With
 * `day1/` and `day2/` in it, the images are those of two days. Refuses, before anything is made, what would be ambiguous.
 */
export async function adoptedGuests(home: LocalHome, directory: string): Promise<Guests> {
  const source = await realpath(directory).catch(() => {
    throw new Error(`there is no directory ${directory}`)
  })
  const own = await realpath(home.directory).catch(() => home.directory)
  if (source === own || source.startsWith(`${own}${path.sep}`))
    throw new Error(`${directory} is inside of ${home.directory}, which is made anew; name images elsewhere`)
  const entries = await readdir(source)
  const days = ['day1', 'day2'].every(day => entries.includes(day))
    ? [path.join(source, 'day1'), path.join(source, 'day2')]
    : [source]
  const [first = new Map<string, string>(), second] = await Promise.all(days.map(imagesIn))
  for (const name of second === undefined ? [] : first.keys())
    if (!second?.has(name)) throw new Error(`${days[1]} has no image of ${name}, which ${days[0]} has`)
  const names = [...first.keys()]
  const place = (images: ReadonlyMap<string, string>) =>
    Promise.all(names.map(name => copySparse(images.get(name) ?? '', path.join(home.machine, name, image))))
  return {
    title: `${names.length === 1 ? 'One VM' : `${names.length} VMs`} with your own images`,
    names,
    nextDay:
      second === undefined
        ? 'A day passes in which your images do not change (put two days of them into day1/ and day2/ to see one in which they do)'
        : 'A day passes: the images of day2',
    async make(note) {
      await place(first)
      for (const [name, file] of first) note(`${name}: ${file}`)
      return names.map(name => ({ name, image }))
    },
    async useForADay() {
      if (second !== undefined) await place(second)
    },
  }
}

/** Image files by the names of their VMs. */
async function imagesIn(directory: string): Promise<ReadonlyMap<string, string>> {
  const images = new Map<string, string>()
  for (const file of (await readdir(directory)).sort()) {
    const name = imageName.exec(file)?.[1]
    const whole = path.join(directory, file)
    if (name === undefined || !(await stat(whole)).isFile()) continue
    requireVmName(name, whole)
    const other = images.get(name)
    if (other !== undefined) throw new Error(`${other} and ${whole} would both be the VM ${name}`)
    images.set(name, whole)
  }
  if (images.size === 0) throw new Error(`there is no *.img or *.raw in ${directory}`)
  return images
}

function requireVmName(name: string, file: string): void {
  try {
    parseVmName(name)
  } catch (error) {
    throw new Error(`${file}: its name is that of the VM; ${reportOf(error).message}`)
  }
  if (reserved.has(name))
    throw new Error(`${file}: ${name} is a VM of the quickstart itself; rename the file`)
}
