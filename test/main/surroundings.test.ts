import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { surroundings } from '../../src/main/surroundings.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'surroundings-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

const loopback = { lo: [{ internal: true }] }

async function found(files: Readonly<Record<string, string>>, interfaces: object = loopback) {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(directory, name)), { recursive: true })
    writeFileSync(path.join(directory, name), content)
  }
  const of = {
    proc: directory,
    cgroups: path.join(directory, 'cgroup'),
    interfaces: () => ({ ...interfaces }),
  }
  return (await surroundings(of)).map(({ ok }) => ok)
}
const core = (limit: string) =>
  `Limit\nMax core file size         ${limit}                    ${limit}   bytes\n`
const swapped = 'Filename Type Size\n/dev/sda2 partition 1048572\n'

it('are right without dumps, swap and network', async () => {
  const sound = {
    'self/limits': core('0'),
    'sys/kernel/core_pattern': 'core\n',
    swaps: 'Filename Type Size\n',
  }
  expect(await found(sound)).toEqual([true, true, true])
  expect(await found({ 'sys/kernel/core_pattern': '|/usr/lib/handler %p\n' })).toEqual([false, true, true])
  expect(await found({ 'self/limits': core('1') })).toEqual([true, true, true])
  expect(await found({ 'self/limits': core('unlimited') })).toEqual([false, true, true])
  expect(await found({ 'self/limits': '' })).toEqual([false, true, true])
})

it('with swap are right when this process is never swapped', async () => {
  const group = { 'self/cgroup': '0::/system.slice/hsm.service\n', swaps: swapped }
  const max = 'cgroup/system.slice/hsm.service/memory.swap.max'
  expect((await found(group))[1]).toBe(false)
  expect((await found({ [max]: 'max\n' }))[1]).toBe(false)
  expect((await found({ [max]: '0\n' }))[1]).toBe(true)
})

it('are wrong with any way out', async () => {
  expect((await found({}, { ...loopback, eth0: [{ internal: false }] }))[2]).toBe(false)
})

it('are told of this machine', async () => {
  expect((await surroundings()).map(({ text }) => text).join()).toMatch(/core.*(swap).*network/)
})
