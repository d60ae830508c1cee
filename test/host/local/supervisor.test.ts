import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/base/environment.ts'
import { silentLog } from '../../../src/base/log.ts'
import { parseVmName } from '../../../src/base/names.ts'
import { findWalls } from '../../../src/host/local/bubblewrap.ts'
import { createSupervisor, type ServiceVm, type Supervisor } from '../../../src/host/local/supervisor.ts'
import { product } from './product.ts'

const walls = await findWalls(product, silentLog)
const one = parseVmName('one')
const two = parseVmName('two')

/** Whoever can connect finds all of it done. */
const program = `
import net from 'node:net'
import fs from 'node:fs'
process.on('SIGTERM', () => { console.log('down'); process.exit(0) })
console.log('up')
fs.rmSync(process.argv[2], { force: true })
net.createServer(socket => socket.end()).listen(process.argv[2])
`

let root: string
let supervisor: Supervisor | null

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'supervisor-'))
  supervisor = null
})
afterEach(async () => {
  await supervisor?.stop()
  await rm(root, { recursive: true })
})

async function vm(name: typeof one, code = program): Promise<ServiceVm> {
  const directory = join(root, name)
  await mkdir(directory)
  await writeFile(join(directory, 'main.mjs'), code)
  const readySocket = join(directory, 'services.sock')
  const command = [join(directory, 'main.mjs'), readySocket]
  return { name, command, binds: [{ from: directory, write: true }], network: false, readySocket }
}

function supervise(...vms: ServiceVm[]): Supervisor {
  const logDirectory = join(root, 'log')
  supervisor = createSupervisor({ vms, walls, product, logDirectory, clock: systemClock, log: silentLog })
  return supervisor
}

const logOf = (name: typeof one) => readFile(join(root, 'log', `${name}.log`), 'utf8')

describe('the supervisor', () => {
  test('starts VMs until they answer, and stops them gently', async () => {
    const supervisor = supervise(await vm(one), await vm(two))
    await supervisor.start()
    expect(supervisor.status()).toEqual([
      { name: 'one', state: 'running', restarts: 0 },
      { name: 'two', state: 'running', restarts: 0 },
    ])
    const pid = await supervisor.pidOf(one)
    expect(await readFile(`/proc/${pid}/cmdline`, 'latin1')).toContain('main.mjs')
    await supervisor.stop()
    expect(supervisor.status().map(({ state }) => state)).toEqual(['stopped', 'stopped'])
    expect(await supervisor.pidOf(one)).toBeNull()
    await expect(stat(`/proc/${pid}`)).rejects.toMatchObject({ code: 'ENOENT' })
    expect(await logOf(one)).toBe('up\ndown\n')
    expect((await stat(join(root, 'log', 'one.log'))).mode & 0o777).toBe(0o600)
  })

  test('starts a killed VM again', async () => {
    const supervisor = supervise(await vm(one))
    await supervisor.start()
    const before = await supervisor.pidOf(one)
    await supervisor.kill(one, 'SIGKILL')
    await expect
      .poll(() => supervisor.status()[0], { timeout: 10_000 })
      .toMatchObject({ restarts: 1, state: 'running' })
    expect(await supervisor.pidOf(one)).not.toBe(before)
    await expect.poll(() => logOf(one)).toBe('up\nup\n')
  })

  test('keeps what a VM has said, whatever the VM does to its own end of it', async () => {
    const eraser = program.replace(
      "console.log('up')",
      `console.log('deed')
      for (const end of [1, 2]) try { fs.ftruncateSync(end, 0) } catch (error) { console.log(error.code) }`,
    )
    const supervisor = supervise(await vm(one, eraser))
    await supervisor.start()
    await supervisor.stop()
    expect(await logOf(one)).toBe('deed\nEINVAL\nEINVAL\ndown\n')
  })

  test('stops all when one does not start', async () => {
    const supervisor = supervise(await vm(one), await vm(two, 'process.exit(7)'))
    await expect(supervisor.start()).rejects.toMatchObject({
      code: 'VM_START',
      message: expect.stringContaining('two ended with status 7'),
    })
    expect(await supervisor.pidOf(one)).toBeNull()
    expect(await logOf(one)).toBe('up\ndown\n')
  })

  test('knows no VM that it was not given', async () => {
    expect(() => supervise().kill(one, 'SIGTERM')).toThrow(expect.objectContaining({ code: 'VM_MISSING' }))
  })
})
