import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { appendFile, mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { availableParallelism, tmpdir } from 'node:os'
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
/** Four repositories with a map of the volume each, and a buffer for a pack a core, and two a backup. */
const residentBytesMaxOfFour = 400 * MiB + availableParallelism() * 16 * MiB
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

interface Printed {
  readonly workingMost: number
  readonly atFirstEnd: readonly number[]
}

function run(file: string, args: readonly string[]): string {
  return runBoth(file, args).stderr
}

function runBoth(file: string, args: readonly string[]): { stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(file, args, { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${args.join(' ')} failed with ${status}:\n${stderr}`)
  return { stdout, stderr }
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

it('runs four backups at once within a bound, on no more threads than cores, and none waits for another', async () => {
  const target = path.join(directory, 'at-once')
  await mkdir(target)
  // Every pack of it is new.
  const image = path.join(target, 'random.img')
  for (let at = 0; at < 256; at += 16) await appendFile(image, randomBytes(16 * MiB))
  const argv = ['-f', '%M', process.execPath, 'test/long/backups-at-once.ts', '4', image, target]
  const { stdout, stderr } = runBoth('/usr/bin/time', argv)
  expect(Number(stderr.trim().split('\n').at(-1)) * 1024).toBeLessThan(residentBytesMaxOfFour)
  const { workingMost, atFirstEnd } = JSON.parse(stdout) as Printed
  expect(workingMost).toBe(availableParallelism())
  expect(atFirstEnd).toHaveLength(4)
  expect(Math.min(...atFirstEnd)).toBeGreaterThan(0.8)
  await rm(target, { recursive: true })
}, 1_200_000)

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
