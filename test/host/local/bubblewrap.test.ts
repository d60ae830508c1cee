import { execFileSync } from 'node:child_process'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createLog, silentLog } from '../../../src/base/log.ts'
import { findWalls, type View, walledCommand } from '../../../src/host/local/bubblewrap.ts'
import { maySkip } from '../../support/may-skip.ts'
import { product } from './product.ts'

const walls = await findWalls(product, silentLog)

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'walls-'))
  await mkdir(join(root, 'mine'))
  await writeFile(join(root, 'others'), 'private to another VM')
})
afterAll(() => rm(root, { recursive: true }))

/** Runs `code` as an ES module behind walls and returns what it writes. */
function inside(code: string, view: Partial<View> = {}): string {
  const whole = { vm: 'test-vm', binds: [], network: false, ...view }
  const script = [product.node, '--input-type=module', '-e', code]
  const [program = '', ...rest] = walledCommand(walls, product, whole, script)
  return execFileSync(program, rest, {
    encoding: 'utf8',
    env: { PATH: process.env.PATH, SECRET_OF_THE_HOST: 'x' },
    stdio: ['ignore', 'pipe', 'ignore'],
  })
}

const tried = (expression: string) =>
  `try { console.log(${expression}) } catch (error) { console.log(error.code ?? error.message) }`

describe.skipIf(maySkip(!walls.bubblewrap))('behind bubblewrap', () => {
  test('there is neither the environment of the host nor its files', () => {
    const code = `import fs from 'node:fs'
      console.log(JSON.stringify(process.env.SECRET_OF_THE_HOST ?? null))
      ${tried(`fs.readFileSync(${JSON.stringify(join(root, 'others'))}, 'utf8')`)}
      ${tried("fs.readFileSync('/etc/shadow', 'utf8')")}
      ${tried("fs.writeFileSync('/planted', '')")}
      ${tried(`fs.writeFileSync(${JSON.stringify(join(product.directory, 'src/planted.ts'))}, '')`)}`
    expect(inside(code).trim().split('\n')).toEqual(['null', 'ENOENT', 'ENOENT', 'EROFS', 'EROFS'])
  })

  test('there are the certificates that programs need, and no private keys of the machine', () => {
    const code = `import fs from 'node:fs'
      console.log(fs.existsSync('/etc/ssl') ? fs.readdirSync('/etc/ssl').join() : '')`
    const allowed = new Set(['', 'certs', 'openssl.cnf'])
    expect(
      inside(code)
        .trim()
        .split(',')
        .filter(name => !allowed.has(name)),
    ).toEqual([])
  })

  test('its own directories are there, writable only where that is said', async () => {
    const mine = join(root, 'mine')
    const write = `import fs from 'node:fs'\n${tried(`fs.writeFileSync('/data/x', 'written') ?? 'done'`)}`
    expect(inside(write, { binds: [{ from: mine, to: '/data', write: false }] }).trim()).toBe('EROFS')
    expect(inside(write, { binds: [{ from: mine, to: '/data', write: true }] }).trim()).toBe('done')
    expect(await readFile(join(mine, 'x'), 'utf8')).toBe('written')
  })

  test('there is no network unless it is given one', async () => {
    const server = createServer(socket => socket.end('hello'))
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const port = typeof address === 'object' && address ? address.port : 0
    // The socket of the parent does not answer while it waits, but the kernel completes the connection.
    const code = `import net from 'node:net'
      const socket = net.connect(${port}, '127.0.0.1')
      socket.on('connect', () => { console.log('connected'); socket.destroy() })
      socket.on('error', error => console.log(error.code))`
    expect(inside(code).trim()).toMatch(/^(ECONNREFUSED|ENETUNREACH)$/)
    expect(inside(code, { network: true }).trim()).toBe('connected')
    await new Promise(resolve => server.close(resolve))
  })

  test('there are no other processes, no capabilities and no core dumps', () => {
    const code = `import fs from 'node:fs'
      console.log(fs.readdirSync('/proc').filter(name => /^\\d+$/.test(name)).length <= 2)
      console.log(/CapEff:\\s*0+\\n/.test(fs.readFileSync('/proc/self/status', 'utf8')))
      console.log(/Max core file size\\s+1\\s+1/.test(fs.readFileSync('/proc/self/limits', 'utf8')))
      console.log(fs.readFileSync('/proc/sys/kernel/hostname', 'utf8').trim())`
    expect(inside(code).trim().split('\n')).toEqual(['true', 'true', 'true', 'test-vm'])
  })

  test('the settings of the kernel are read-only, whoever started it', () => {
    const code = `import fs from 'node:fs'
      ${tried("fs.openSync('/proc/sys/kernel/core_pattern', 'r+')")}`
    expect(inside(code).trim()).toBe('EROFS')
  })

  test('the product’s own code runs', () => {
    const module = JSON.stringify(join(product.directory, 'src/base/names.ts'))
    expect(inside(`const { dom0 } = await import(${module}); console.log(dom0)`).trim()).toBe('dom0')
  })

  test('no namespaces can be made inside a sandbox', ({ skip }) => {
    if (maySkip(!walls.disableUserns)) skip('this bubblewrap cannot forbid them')
    const code = `import { spawnSync } from 'node:child_process'
      console.log(spawnSync('/usr/bin/unshare', ['-U', 'true']).status === 0)`
    expect(inside(code, { disableUserns: true }).trim()).toBe('false')
  })
})

describe('without bubblewrap', () => {
  test('a loud warning is given, and processes run all the same', async () => {
    const lines: string[] = []
    const none = await findWalls(
      { ...product, node: '/nonexistent' },
      createLog('test', line => lines.push(line)),
    )
    expect(none).toEqual({ bubblewrap: false, disableUserns: false })
    expect(lines.join('')).toMatch(/"level":"error".*BUBBLEWRAP DOES NOT WORK/)
    const view = { vm: 'x', binds: [], network: false }
    expect(walledCommand(none, product, view, ['true'])).toEqual(['prlimit', '--core=1', '--', 'true'])
  })
})
