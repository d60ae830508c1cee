import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openDoor } from '../../src/main/local-port.ts'
import { MemoryLog } from '../api/harness.ts'

let home: string
beforeEach(async () => {
  home = await mkdtemp(path.join(tmpdir(), 'port-'))
})
afterEach(() => rm(home, { recursive: true }))

const portFile = () => path.join(home, 'port.json')

/** The port that a start gets; what it says goes to `log`. */
async function opened(asked?: string, log = new MemoryLog()) {
  return openDoor({ socket: path.join(home, 'api.sock'), portFile: portFile(), asked, log })
}

it('is the same after a stop and a start', async () => {
  const first = await opened()
  first.close()
  const second = await opened()
  second.close()
  expect(second.port).toBe(first.port)
})

it('is another one, and that is said, only while another program has it', async () => {
  const mine = await opened()
  const log = new MemoryLog()
  const other = await opened(undefined, log)
  expect(other.port).not.toBe(mine.port)
  expect(log.lines).toEqual([
    expect.objectContaining({ level: 'warn', fields: { before: mine.port, now: other.port } }),
  ])
  mine.close()
  other.close()
})

it('is the one that was asked for, from then on', async () => {
  const any = await opened()
  any.close()
  const free = any.port
  await rm(portFile())
  const asked = await opened(String(free))
  await expect(opened(String(free))).rejects.toMatchObject({
    code: 'FIELD_INVALID',
    message: `port ${free} is taken`,
  })
  asked.close()
  const again = await opened()
  again.close()
  expect(again.port).toBe(free)
  expect(JSON.parse(await readFile(portFile(), 'utf8'))).toEqual({ port: free })
})

it.each(['0', '65536', '80a', '-1', ''])('refuses --port %j', async asked => {
  await expect(opened(asked)).rejects.toMatchObject({
    code: 'FIELD_INVALID',
    message: `--port is '${asked}'; expected 1 to 65535`,
  })
})
