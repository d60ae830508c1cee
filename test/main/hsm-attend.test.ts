import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { parseJobId, parseProfileName, parseVmName } from '../../src/base/names.ts'
import { listenSocket } from '../../src/host/local/socket.ts'
import { attend } from '../../src/main/hsm-approvals.ts'
import { controlSocket } from '../../src/main/hsm-service.ts'
import { Person } from '../hsm/person.ts'
import { World } from '../hsm/world.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-attend-'))
afterEach(() => {
  vi.unstubAllEnvs()
  vi.restoreAllMocks()
  rmSync(directory, { recursive: true, force: true })
})

it('attend asks for each epoch of a job, and goes on after a yes that came too late', async () => {
  // A person who always says yes, and what she was shown.
  const shown = path.join(directory, 'shown')
  writeFileSync(path.join(directory, 'zenity'), `#!/bin/sh\nprintf '%s\\n' "$@" >> ${shown}\n`)
  chmodSync(path.join(directory, 'zenity'), 0o700)
  vi.stubEnv('PATH', `${directory}:${process.env.PATH}`)
  vi.spyOn(console, 'error').mockImplementation(() => {})
  const world = await World.start()
  const { approvals } = world
  const request = (epoch: number) => ({
    job: parseJobId('20261124T031500Z-1f2e3d4c'),
    profile: parseProfileName('nightly'),
    purpose: 'drill' as const,
    epoch,
    initiator: parseVmName('sys-mgmt'),
    expires: new Date(world.now.getTime() + 60_000),
  })
  const person = new Person(world)
  const listener = await listenSocket(controlSocket(directory), socket => person.accept(socket))
  const ended = new AbortController()
  try {
    expect(approvals.isApproved(request(1), false)).toBe(false)
    const decide = approvals.decide.bind(approvals)
    // The first answer comes when the request has expired.
    approvals.decide = (...given) => {
      approvals.decide = decide
      world.now = new Date(world.now.getTime() + 120_000)
      return decide(...given)
    }
    const attending = attend(directory, 'zenity', ended.signal)
    await vi.waitFor(() => expect(approvals.decide).toBe(decide), 30_000)
    for (const epoch of [1, 2]) {
      await vi.waitFor(() => expect(approvals.isApproved(request(epoch), false)).toBe(true), 30_000)
      approvals.end(request(epoch).job)
    }
    ended.abort()
    expect((await attending).result).toEqual({ asked: 3 })
    expect(readFileSync(shown, 'utf8').match(/epoch \d/g)).toEqual(['epoch 1', 'epoch 1', 'epoch 2'])
  } finally {
    ended.abort()
    await listener.close()
    await world.stop()
  }
})
