import { spawn, spawnSync } from 'node:child_process'
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { startOf } from '../../src/host/local/process-start.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'host-'))
})
afterEach(() => rm(home, { recursive: true }))

function host(command: string): unknown {
  const strongroom = path.resolve('bin/strongroom')
  const { stdout } = spawnSync(strongroom, ['host', command, '--home', home, '--json'], { encoding: 'utf8' })
  return JSON.parse(stdout)
}

it.each([
  ['start', []],
  ['run', ['vault-hsm', '--', 'hsm', 'envelopes']],
])('%s where no host was made says so, and makes nothing', async (command, rest) => {
  const strongroom = path.resolve('bin/strongroom')
  const { status, stderr } = spawnSync(strongroom, ['host', command, '--home', home, ...rest], {
    encoding: 'utf8',
  })
  expect(stderr).toContain(
    `there is no host in ${home} (FIELD_INVALID)\nhint: name its directory with --home`,
  )
  expect([status, await readdir(home)]).toEqual([2, []])
})

it('stops the host that it started, and no other process that has got its number', async () => {
  const other = spawn('sleep', ['60'])
  const pid = other.pid ?? 0
  const file = { pid, started: '1', api: 'http://127.0.0.1:1', tokenFile: '/none' }
  await writeFile(path.join(home, 'host.json'), JSON.stringify(file))
  expect(host('status')).toMatchObject({ result: null })
  expect(host('stop')).toMatchObject({ result: { stopped: false } })
  expect(await startOf(pid)).not.toBeNull()

  const started = await startOf(pid)
  await writeFile(path.join(home, 'host.json'), JSON.stringify({ ...file, started }))
  expect(host('status')).toMatchObject({ result: { pid } })
  const ended = new Promise(resolve => other.once('exit', (_, signal) => resolve(signal)))
  expect(host('stop')).toMatchObject({ result: { stopped: true } })
  expect(await ended).toBe('SIGTERM')
  expect(await startOf(pid)).toBeNull()
})
