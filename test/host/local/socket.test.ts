import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { connectSocket } from '../../../src/host/local/socket.ts'

/** What happens between the connection and the close of the handle that it was made through. */
let meanwhile: () => Promise<unknown> = async () => {}
vi.mock('node:fs/promises', async original => {
  const real = await original<typeof import('node:fs/promises')>()
  return {
    ...real,
    async open(...args: Parameters<typeof real.open>) {
      const handle = await real.open(...args)
      const close = handle.close.bind(handle)
      return Object.assign(handle, {
        async close() {
          await meanwhile()
          await close()
        },
      })
    },
  }
})

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'socket-'))
})
afterEach(async () => {
  meanwhile = async () => {}
  await rm(directory, { recursive: true })
})

/** A hostile VM: listens, accepts nobody, and closes the listener with its callers in the backlog when told. */
async function listenAndClose(file: string): Promise<{ close(): Promise<unknown> }> {
  const program = `import socket,sys
s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(64); print('listening',flush=True)
sys.stdin.readline(); s.close(); print('closed',flush=True)`
  const child = spawn('python3', ['-c', program, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  await once(child.stdout, 'data')
  return {
    async close() {
      child.stdin.write('\n')
      await once(child.stdout, 'data')
      // The reset is read in a turn of its own.
      await new Promise(resolve => setTimeout(resolve, 20))
    },
  }
}

test('a listener that closes with the caller in its backlog is an error of the call, not of the process', async () => {
  const file = path.join(directory, 'evil.sock')
  const evil = await listenAndClose(file)
  const uncaught = vi.fn()
  process.once('uncaughtException', uncaught)
  meanwhile = () => evil.close()
  await expect(connectSocket(file)).rejects.toMatchObject({ code: 'ECONNRESET' })
  process.off('uncaughtException', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})

test('nor does one that closes later end the process', async () => {
  const file = path.join(directory, 'evil.sock')
  const evil = await listenAndClose(file)
  const socket = await connectSocket(file)
  const closed = new Promise<boolean>(resolve => socket.once('close', resolve))
  const uncaught = vi.fn()
  process.once('uncaughtException', uncaught)
  await evil.close()
  expect(await closed).toBe(true)
  process.off('uncaughtException', uncaught)
  expect(uncaught).not.toHaveBeenCalled()
})
