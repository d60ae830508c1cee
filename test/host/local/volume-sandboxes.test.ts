import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { MiB } from '../../../src/base/bytes.ts'
import { systemClock, systemEntropy } from '../../../src/base/environment.ts'
import { silentLog } from '../../../src/base/log.ts'
import { parseJobId } from '../../../src/base/names.ts'
import { readAll } from '../../../src/base/reader.ts'
import { findWalls, type Walls } from '../../../src/host/local/bubblewrap.ts'
import { limitResources } from '../../../src/host/local/resource-limits.ts'
import { localVolumeSandboxes } from '../../../src/host/local/volume-sandboxes.ts'
import { scratch } from '../../support/scratch.ts'
import { product } from './product.ts'

const walls = await findWalls(product, silentLog)
const job = parseJobId('20261124T031500Z-1f2e3d4c')
const other = parseJobId('20261124T031500Z-00000000')
const never = new AbortController().signal
const limits = { memoryBytesMax: 256 * MiB, millisecondsMax: 30_000 }

const directory = scratch('volumes')
for (const one of [job, other]) {
  mkdirSync(path.join(directory, one, 'work'), { recursive: true })
  writeFileSync(path.join(directory, one, 'work', 'root.img'), `volume of ${one}`)
}

function sandboxes(command: readonly string[], otherWalls: Walls = walls) {
  const [clock, entropy, log] = [systemClock, systemEntropy, silentLog]
  return localVolumeSandboxes({ walls: otherWalls, product, command, directory, clock, entropy, log })
}

const script = (code: string) => ['--input-type=module', '-e', code]

async function saidBy(code: string, change: Partial<typeof limits> = {}): Promise<string> {
  await using sandbox = await sandboxes(script(code)).start(job, { ...limits, ...change }, never)
  return (await readAll(sandbox.channel, 100_000)).parse(bytes => Buffer.from(bytes).toString())
}

/** Of this process, in every hierarchy. */
function groupsOf(pid: number | undefined = process.pid): readonly string[] {
  return ['', 'memory', 'pids', 'cpu'].flatMap(name => {
    const hierarchy = path.join('/sys/fs/cgroup', name)
    const found = existsSync(hierarchy) ? readdirSync(hierarchy) : []
    return found.filter(one => one.startsWith(`strongroom-${pid}.`))
  })
}

describe('a sandbox for volumes', () => {
  it('sees the volumes of its job alone, and cannot write to them', async () => {
    const said = await saidBy(`
      import { readFileSync, readdirSync, writeFileSync } from 'node:fs'
      const attempt = work => { try { return work() } catch (error) { return error.code } }
      console.log(JSON.stringify([
        readdirSync('/volumes', { recursive: true }).sort(),
        readFileSync('/volumes/work/root.img', 'utf8'),
        attempt(() => writeFileSync('/volumes/work/root.img', 'x')),
        attempt(() => writeFileSync('/volumes/new', 'x')),
        attempt(() => readdirSync(${JSON.stringify(directory)})),
        attempt(() => readdirSync('/sys')), attempt(() => readdirSync('/home')), attempt(() => readdirSync('/run')),
        attempt(() => writeFileSync('/dev/shm/new', 'x')),
      ]))`)
    const missing = ['ENOENT', 'ENOENT', 'ENOENT', 'ENOENT']
    const content = `volume of ${job}`
    expect(JSON.parse(said)).toEqual([
      ['work', 'work/root.img'],
      content,
      'EROFS',
      'EROFS',
      ...missing,
      'EROFS',
    ])
  })

  it('has no network, and nobody to call', async () => {
    const said = await saidBy(`
      import net from 'node:net'
      import { readFileSync } from 'node:fs'
      const devices = readFileSync('/proc/net/dev', 'latin1').match(/^ *\\w+(?=:)/gm)
      const code = options => new Promise(go => net.connect(options).on('error', error => go(error.code)).on('connect', () => go('connected')))
      console.log(devices.join().trim(), await code({ host: '127.0.0.1', port: 22 }), process.argv.length)`)
    expect(said).toBe('lo EPERM 1\n')
  })

  it('is refused what it does not need of the kernel, by a filter and not for want of privileges', async () => {
    const probe = path.join(import.meta.dirname, 'system-calls.py')
    const python = readFileSync(probe, 'utf8')
    const run = (words: readonly string[]) =>
      `import { execFileSync } from 'node:child_process'
       process.stdout.write(execFileSync('/usr/bin/python3', ${JSON.stringify(['-c', python, ...words])}))`
    const inside = JSON.parse(await saidBy(run([]))) as Record<string, number>
    const outside = JSON.parse(await outcomeOf(['/usr/bin/python3', '-c', python])) as Record<string, number>
    expect(Object.keys(inside).length).toBeGreaterThan(8)
    const { clone3, ...others } = inside
    expect(new Set(Object.values(others))).toEqual(new Set([1]))
    expect(clone3).toBe(38)
    // Without the filter each ends in another way.
    for (const [call, errno] of Object.entries(outside))
      expect([call, errno]).not.toEqual([call, inside[call]])
    const status = await saidBy(
      `import { readFileSync } from 'node:fs'; console.log(readFileSync('/proc/self/status', 'utf8'))`,
    )
    expect(status).toMatch(/^Seccomp:\t2$/m)
    expect(status).toMatch(/^NoNewPrivs:\t1$/m)
    expect(status).toMatch(/^CapEff:\t0+$/m)
  })

  it('cannot take more memory, files in memory, processes or time of the processor than it may', async () => {
    expect(await saidBy('const held = []; for (;;) held.push(Buffer.alloc(1 << 22, 1))')).toBe('')
    const written = await saidBy(`
      import { appendFileSync } from 'node:fs'
      let count = 0
      try { for (;; count++) appendFileSync('/tmp/file', Buffer.alloc(1 << 20)) } catch (error) { console.log(count, error.code) }`)
    expect(written).toBe('128 ENOSPC\n')
    const forked = await saidBy(`
      import { spawn } from 'node:child_process'
      let failed = 0
      for (let count = 0; count < 300; count++) spawn('/bin/sleep', ['100'], { stdio: 'ignore' }).on('error', () => { failed++ })
      setTimeout(() => { console.log(failed > 40); process.exit() }, 100)`)
    expect(forked).toBe('true\n')
    const limited = await saidBy(
      `import { readFileSync } from 'node:fs'; console.log(readFileSync('/proc/self/limits', 'utf8'))`,
    )
    expect(limited).toMatch(/^Max cpu time +30 +30 /m)
    expect(limited).toMatch(/^Max core file size +1 +1 /m)
    expect(groupsOf()).toEqual([])
  })

  it('is not had without walls, nor without volumes', async () => {
    const plain = sandboxes([], { bubblewrap: false, disableUserns: false })
    await expect(plain.start(job, limits, never)).rejects.toMatchObject({ code: 'VM_START' })
    const absent = parseJobId('20261124T031500Z-aaaaaaaa')
    await expect(sandboxes([]).start(absent, limits, never)).rejects.toMatchObject({ code: 'VOLUME_MISSING' })
    const link = parseJobId('20261124T031500Z-bbbbbbbb')
    symlinkSync('/etc', path.join(directory, link))
    await expect(sandboxes([]).start(link, limits, never)).rejects.toMatchObject({ code: 'VOLUME_MISSING' })
    expect(groupsOf()).toEqual([])
  })

  it('ends with a host that is killed, and what that leaves the next one removes', async () => {
    const host = spawn(product.node, ['--input-type=module', '-e', hostCode()], {
      stdio: ['ignore', 'pipe', 'ignore'],
    })
    try {
      expect(await firstLineOf(host)).toBe('up')
      await expect.poll(() => commandsWith('9171.25').length).toBe(1)
      expect(groupsOf(host.pid).length).toBeGreaterThan(0)
    } finally {
      host.kill('SIGKILL')
    }
    await expect.poll(() => commandsWith('9171.25'), { timeout: 10_000 }).toEqual([])
    await expect
      .poll(
        async () => {
          const next = await limitResources('next', limits, systemClock)
          await next.remove()
          return groupsOf(host.pid)
        },
        { timeout: 10_000 },
      )
      .toEqual([])
  })
})

/** A host that starts one sandbox, with a child in it, and says what that says. */
function hostCode(): string {
  const from = (file: string) => JSON.stringify(path.join(product.directory, 'src', file))
  const inside = `
    import { spawn } from 'node:child_process'
    spawn('/usr/bin/setsid', ['/bin/sleep', '9171.25'], { stdio: 'ignore' }).once('spawn', () => console.log('up'))`
  return `
    import { localVolumeSandboxes } from ${from('host/local/volume-sandboxes.ts')}
    import { systemClock, systemEntropy } from ${from('base/environment.ts')}
    import { silentLog } from ${from('base/log.ts')}
    const options = ${JSON.stringify({ walls, product, command: script(inside), directory })}
    const sandboxes = localVolumeSandboxes({ ...options, clock: systemClock, entropy: systemEntropy, log: silentLog })
    const sandbox = await sandboxes.start('${job}', ${JSON.stringify(limits)}, new AbortController().signal)
    sandbox.channel.on('data', part => process.stdout.write(part))
    setInterval(() => {}, 1000)`
}

async function firstLineOf({ stdout }: ChildProcess): Promise<string> {
  if (stdout === null) throw new Error('no output')
  for await (const part of stdout) return String(part).trim()
  return ''
}

function commandsWith(text: string): readonly string[] {
  return readdirSync('/proc').filter(name => {
    try {
      return (
        /^\d+$/.test(name) &&
        readFileSync(`/proc/${name}/cmdline`, 'latin1').startsWith(`/bin/sleep\0${text}`)
      )
    } catch {
      return false
    }
  })
}

async function outcomeOf([program = '', ...words]: readonly string[]): Promise<string> {
  const child = spawn(program, words, { stdio: ['ignore', 'pipe', 'inherit'] })
  return (await readAll(child.stdout, 100_000)).parse(bytes => Buffer.from(bytes).toString())
}
