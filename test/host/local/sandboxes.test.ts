import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MiB } from '../../../src/base/bytes.ts'
import { systemClock, systemEntropy } from '../../../src/base/environment.ts'
import { createLog, silentLog } from '../../../src/base/log.ts'
import { dom0, parseJobId } from '../../../src/base/names.ts'
import { readAll } from '../../../src/base/reader.ts'
import { type Broker, createBroker } from '../../../src/host/local/broker.ts'
import { serveControl } from '../../../src/host/local/broker-control.ts'
import { findWalls } from '../../../src/host/local/bubblewrap.ts'
import { localSandboxes } from '../../../src/host/local/sandboxes.ts'
import type { Listener } from '../../../src/host/local/socket.ts'
import type { Sandbox } from '../../../src/host/sandboxes.ts'
import { parsePolicy } from '../../../src/qrexec/policy-files.ts'
import { maySkip } from '../../support/may-skip.ts'
import { product } from './product.ts'

const walls = await findWalls(product, silentLog)
const job = parseJobId('20261124T031500Z-1f2e3d4c')
const never = new AbortController().signal
const limits = { memoryBytesMax: 512 * MiB, millisecondsMax: 20_000 }

let run: string
let broker: Broker
let control: Listener
let lines: string[]

beforeEach(async () => {
  run = await mkdtemp(join(tmpdir(), 'sandboxes-'))
  lines = []
  broker = createBroker({ runDirectory: run, system: () => ({ domains: new Map() }), log: silentLog })
  broker.setPolicy(parsePolicy(new Map()))
  const directory = await broker.addVm(dom0)
  const path = join(directory, 'control.sock')
  control = await serveControl({ path, broker, entropy: systemEntropy, log: silentLog })
})
afterEach(async () => {
  await control.close()
  await broker.close()
  await rm(run, { recursive: true })
})

async function start(code: string, change: Partial<typeof limits> = {}, signal = never): Promise<Sandbox> {
  // Inside, the code must be below the product's own files or in the command itself.
  const sandboxes = localSandboxes({
    walls,
    product,
    command: ['--input-type=module', '-e', code],
    controlSocket: join(run, 'dom0', 'control.sock'),
    clock: systemClock,
    log: createLog('test', line => lines.push(line)),
  })
  return sandboxes.start(job, { ...limits, ...change }, signal)
}

const text = async (sandbox: Sandbox) =>
  (await readAll(sandbox.channel, 10_000)).parse(bytes => Buffer.from(bytes).toString())

describe('a sandbox', () => {
  test('is spoken to over its channel, and leaves nothing behind', async () => {
    {
      await using sandbox = await start(`
        let all = ''
        for await (const part of process.stdin) all += part
        console.log(all.toUpperCase(), process.env.STRONGROOM_SANDBOX, process.argv.at(-1))`)
      expect(sandbox.vm).toMatch(/^disp\d+$/)
      expect(await readdir(run)).toContain(sandbox.vm)
      sandbox.channel.end('hello')
      expect(await text(sandbox)).toBe(`HELLO ${sandbox.vm} ${join(run, sandbox.vm, 'qrexec.sock')}\n`)
      expect(await sandbox.ended).toBe(0)
    }
    expect(await readdir(run)).toEqual(['dom0'])
  })

  test('can reach the broker, which denies what policy does not allow', async () => {
    await using sandbox = await start(`
      import net from 'node:net'
      const socket = net.connect(process.argv.at(-1))
      socket.on('data', part => { console.log(part[0]); process.exit(0) })
      socket.write('store test.Echo+\\0')`)
    expect(await text(sandbox)).toBe('126\n')
  })

  test.skipIf(maySkip(!walls.bubblewrap))('sees neither network nor other VMs', async () => {
    await using sandbox = await start(`
      import { networkInterfaces } from 'node:os'
      import { readdirSync } from 'node:fs'
      console.log(JSON.stringify(networkInterfaces()), JSON.stringify(readdirSync(${JSON.stringify(run)})))`)
    const [interfaces = '', directories = ''] = (await text(sandbox)).trim().split(' ')
    expect(Object.keys(JSON.parse(interfaces)).filter(name => name !== 'lo')).toEqual([])
    expect(JSON.parse(directories)).toEqual([sandbox.vm])
  })

  test('is destroyed when disposed of, whatever it does', async () => {
    const sandbox = await start(
      "process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')",
    )
    await new Promise(resolve => sandbox.channel.once('readable', resolve))
    await sandbox[Symbol.asyncDispose]()
    expect(await sandbox.ended).toBe(137)
    expect(await readdir(run)).toEqual(['dom0'])
  })

  test('is destroyed at its deadline, and says so', async () => {
    await using sandbox = await start('setInterval(() => {}, 1000)', { millisecondsMax: 300 })
    await expect(text(sandbox)).rejects.toMatchObject({ code: 'SANDBOX_DEADLINE' })
    expect(await sandbox.ended).toBe(137)
  })

  test('is destroyed when the job is cancelled', async () => {
    const abort = new AbortController()
    await using sandbox = await start("setInterval(() => {}, 1000); console.log('up')", {}, abort.signal)
    await new Promise(resolve => sandbox.channel.once('readable', resolve))
    abort.abort(new Error('cancelled'))
    expect(await sandbox.ended).toBe(137)
  })

  test('cannot take more memory than it may', async () => {
    await using sandbox = await start(
      `const held = []
       for (let i = 0; i < 1000; i++) held.push(Buffer.alloc(4 * 1024 * 1024, 1))
       console.log('took it', held.length)`,
      { memoryBytesMax: 256 * MiB },
    )
    expect(await text(sandbox)).toBe('')
    expect(await sandbox.ended).not.toBe(0)
  })

  test('that fails ends with its status, and its complaint is logged in printable form', async () => {
    await using sandbox = await start("console.error('bad \\x1b[2J'); process.exitCode = 9")
    expect(await text(sandbox)).toBe('')
    expect(await sandbox.ended).toBe(9)
    await expect.poll(() => lines.join('')).toContain('bad ?[2J')
  })

  test('is not had without a broker', async () => {
    await control.close()
    await expect(start('')).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
    await writeFile(join(run, 'dom0', 'control.sock'), 'no socket')
    await expect(start('')).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
  })
})
