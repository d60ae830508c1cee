import { mkdtemp, readdir, rm, stat } from 'node:fs/promises'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Duplex, duplexPair } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { silentLog } from '../../../src/base/log.ts'
import { parseJobId, parseVmName } from '../../../src/base/names.ts'
import { readAll, StreamReader } from '../../../src/base/reader.ts'
import { HostError } from '../../../src/host/errors.ts'
import { sandboxesThrough, serveSandboxes } from '../../../src/host/local/sandbox-door.ts'
import type { Listener } from '../../../src/host/local/socket.ts'
import type { SandboxLimits } from '../../../src/host/sandboxes.ts'

const job = parseJobId('20261124T031500Z-1f2e3d4c')
const limits: SandboxLimits = { memoryBytesMax: 1000, millisecondsMax: 2000 }
const never = new AbortController().signal

/** One sandbox as the host started it; `there` is its own end of the channel. */
interface Started {
  readonly order: object
  readonly there: Duplex
  readonly destroyed: Promise<void>
  exit(): void
  breakOff(error: Error): void
}

let directory: string
let door: string
let listener: Listener
let started: Started[]
/** What starting does besides. */
let starting: (signal: AbortSignal) => Promise<void>

beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'door-'))
  door = path.join(directory, 'sandboxes.sock')
  started = []
  starting = async () => {}
  listener = await serveSandboxes(door, { start: fakeStart }, silentLog)
})
afterEach(async () => {
  await listener.close()
  await rm(directory, { recursive: true })
})

async function fakeStart(
  startedJob: string,
  { memoryBytesMax, millisecondsMax }: SandboxLimits,
  signal: AbortSignal,
) {
  await starting(signal)
  const [channel, there] = duplexPair()
  there.on('error', () => {})
  channel.on('error', () => {})
  const ended = Promise.withResolvers<number>()
  const destroyed = Promise.withResolvers<void>()
  started.push({
    order: { job: startedJob, memoryBytesMax, millisecondsMax },
    there,
    destroyed: destroyed.promise,
    exit: () => ended.resolve(0),
    breakOff: error => channel.destroy(error),
  })
  signal.addEventListener('abort', () => ended.resolve(137))
  return {
    vm: parseVmName('disp7'),
    channel,
    ended: ended.promise,
    async [Symbol.asyncDispose]() {
      channel.destroy()
      there.destroy()
      destroyed.resolve()
    },
  }
}

const sandboxes = () => sandboxesThrough(door)
function theOne(): Started {
  const [one] = started
  if (one === undefined) throw new Error('no sandbox was started')
  return one
}

describe('a sandbox through the door', () => {
  it('has the job and limits that dom0 gave, and its name', async () => {
    await using sandbox = await sandboxes().start(job, limits, never)
    expect(sandbox.vm).toBe('disp7')
    expect(theOne().order).toEqual({ job, ...limits })
  })

  it('carries bytes both ways, and is gone when it has said all', async () => {
    await using sandbox = await sandboxes().start(job, limits, never)
    const { there, exit, destroyed } = theOne()
    const question = Buffer.alloc(300_000, 'question')
    sandbox.channel.write(question)
    expect(Buffer.from(await new StreamReader(there).exactly(question.byteLength)).equals(question)).toBe(
      true,
    )
    const answer = Buffer.alloc(300_000, 'answer')
    there.end(answer)
    exit()
    const read = (await readAll(sandbox.channel, 1_000_000)).parse(bytes => Buffer.from(bytes))
    expect(read.equals(answer)).toBe(true)
    await sandbox[Symbol.asyncDispose]()
    await destroyed
    expect(await sandbox.ended).toBe(0)
  })

  it('is destroyed when dom0 lets go of it, though it says nothing', async () => {
    const sandbox = await sandboxes().start(job, limits, never)
    await sandbox[Symbol.asyncDispose]()
    await theOne().destroyed
  })

  it('is destroyed when the job is cancelled', async () => {
    const stop = new AbortController()
    const sandbox = await sandboxes().start(job, limits, stop.signal)
    stop.abort(new Error('cancelled'))
    await theOne().destroyed
    await sandbox.ended
  })

  it('is destroyed when dom0 dies', async () => {
    const stream = createConnection({ path: door, allowHalfOpen: true })
    stream.write(`${JSON.stringify({ job, ...limits })}\0`)
    await new Promise(resolve => stream.once('data', resolve))
    stream.destroy()
    await theOne().destroyed
  })

  it('that the host breaks off, say at its deadline, ends the channel', async () => {
    await using sandbox = await sandboxes().start(job, limits, never)
    theOne().breakOff(new HostError('SANDBOX_DEADLINE', 'it ran too long'))
    const read = (await readAll(sandbox.channel, 1000)).parse(bytes => bytes.byteLength)
    expect(read).toBe(0)
    await theOne().destroyed
  })
})

describe('starting through the door', () => {
  it('fails with the reason of the host', async () => {
    starting = async () => {
      throw new HostError('VM_START', 'no room for another sandbox')
    }
    await expect(sandboxes().start(job, limits, never)).rejects.toMatchObject({
      code: 'VM_START',
      message: 'no sandbox: no room for another sandbox',
    })
  })

  it('is given up by an abort, on both sides', async () => {
    const stop = new AbortController()
    const entered = Promise.withResolvers<void>()
    const left = Promise.withResolvers<void>()
    starting = signal =>
      new Promise((_, reject) => {
        entered.resolve()
        signal.addEventListener('abort', () => {
          left.resolve()
          reject(signal.reason)
        })
      })
    const start = sandboxes().start(job, limits, stop.signal)
    await entered.promise
    stop.abort(new Error('cancelled'))
    await expect(start).rejects.toThrow('cancelled')
    await left.promise
    expect(started).toEqual([])
  })

  it('does not even connect after an abort', async () => {
    await expect(sandboxes().start(job, limits, AbortSignal.abort(new Error('before')))).rejects.toThrow(
      'before',
    )
  })

  it.each(['{}', '{"job":"../x","memoryBytesMax":1,"millisecondsMax":1}', 'nonsense', 'x'.repeat(5000)])(
    'refuses what is no order: %#',
    async order => {
      const stream = createConnection(door)
      stream.write(`${order}\0`)
      const answer = (await readAll(stream, 10_000)).parse(bytes => Buffer.from(bytes).toString())
      expect(answer).toMatch(/^\{"error":".+"\}\0$/)
      expect(started).toEqual([])
    },
  )

  it('is for the owner of the socket alone', async () => {
    expect((await stat(door)).mode & 0o777).toBe(0o600)
    expect(await readdir(directory)).toEqual(['sandboxes.sock'])
  })
})
