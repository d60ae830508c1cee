import { spawnSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'

/*
 * The table of 2 million blobs, each step in a process of its own whose largest resident set is what GNU time reports: about 90 MiB
 * of that is what a process has that does nothing.
 */

const MiB = 1024 * 1024
const residentBytesMax = 200 * MiB
const root = path.join(import.meta.dirname, '../..')

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'strongroom-index-memory-'))
})
afterAll(async () => {
  await rm(directory, { recursive: true })
})

function step(name: string): number {
  const args = ['bench/index.ts', '--step', name, '--blobs', '2000000', '--directory', directory]
  const argv = ['-f', '%M', process.execPath, ...args]
  const { status, stderr } = spawnSync('/usr/bin/time', argv, { cwd: root, encoding: 'utf8' })
  if (status !== 0) throw new Error(`${name} failed with ${status}:\n${stderr}`)
  return Number(stderr.trim().split('\n').at(-1)) * 1024
}

it('is made, extended, opened and asked within a bound that does not depend on the repository', () => {
  step('objects')
  expect(step('build')).toBeLessThan(residentBytesMax)
  expect(step('open')).toBeLessThan(residentBytesMax)
  expect(step('packs')).toBeLessThan(residentBytesMax)
  step('more')
  expect(step('extend')).toBeLessThan(residentBytesMax)
}, 1_200_000)
