import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { makeFileSystem } from '../../bench/images/ext4.ts'
import { stageFirstDay } from '../../bench/images/first-day.ts'

/*
 * An image of 4 GiB, half full, through the product's own repository and storage, each step in a process of its own whose
 * largest resident set is what GNU time reports. None of them may grow with the image.
 */

const MiB = 1024 * 1024
const imageBytes = 4096 * MiB
const residentBytesMax = 300 * MiB
const root = path.join(import.meta.dirname, '../..')

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'strongroom-memory-'))
  const staged = path.join(directory, 'staged')
  await mkdir(path.join(directory, 'images'))
  await mkdir(staged)
  stageFirstDay(staged, 'private', 'memory', imageBytes * 0.48)
  makeFileSystem(path.join(directory, 'images/private.img'), imageBytes, staged, 'private')
  await rm(staged, { recursive: true })
}, 900_000)
afterAll(async () => {
  await rm(directory, { recursive: true })
})

function run(file: string, args: readonly string[]): string {
  const { status, stderr } = spawnSync(file, args, { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${args.join(' ')} failed with ${status}:\n${stderr}`)
  return stderr
}

/** Runs one step of `bench/ours.ts` and returns the largest resident set, in bytes. */
function step(name: string, ...args: readonly string[]): number {
  const repository = path.join(directory, 'repository')
  const argv = ['-f', '%M', process.execPath, 'bench/ours.ts', name, repository, ...args]
  return Number(run('/usr/bin/time', argv).trim().split('\n').at(-1)) * 1024
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const part of createReadStream(file, { highWaterMark: 4 * MiB })) hash.update(part)
  return hash.digest('hex')
}

it('backs up, checks and restores within a bound that does not depend on the image', async () => {
  const image = path.join(directory, 'images/private.img')
  const restored = path.join(directory, 'restored')
  await mkdir(restored)
  const { size, blocks } = await stat(image)
  expect(size).toBe(imageBytes)
  expect(blocks * 512).toBeGreaterThan(0.4 * imageBytes)

  step('init')
  expect(step('backup', path.dirname(image))).toBeLessThan(residentBytesMax)
  expect(step('check')).toBeLessThan(residentBytesMax)
  expect(step('restore', restored)).toBeLessThan(residentBytesMax)

  const copy = path.join(restored, 'private.img')
  expect(await digestOf(copy)).toBe(await digestOf(image))
  const taken = (await stat(copy)).blocks * 512
  expect(taken).toBeLessThan(0.6 * imageBytes)
}, 1_200_000)
