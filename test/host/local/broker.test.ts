import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdir, mkdtemp, readdir, rm, stat, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemEntropy } from '../../../src/base/environment.ts'
import { createLog, silentLog } from '../../../src/base/log.ts'
import { dom0, parseVmName, type VmName } from '../../../src/base/names.ts'
import { readAll } from '../../../src/base/reader.ts'
import { type Broker, createBroker } from '../../../src/host/local/broker.ts'
import { createDisposable, sandboxTag, serveControl } from '../../../src/host/local/broker-control.ts'
import { connectSocket, type Listener, listenSocket } from '../../../src/host/local/socket.ts'
import { dom0Transport, localTransport } from '../../../src/host/local/transport.ts'
import { parsePolicy } from '../../../src/qrexec/policy-files.ts'
import type { DomainInfo, SystemInfo } from '../../../src/qrexec/policy-system.ts'
import { createServer, type Handler, type IncomingCall } from '../../../src/qrexec/server.ts'

const mgmt = parseVmName('mgmt')
const store = parseVmName('store')
const vault = parseVmName('vault')
const never = new AbortController().signal

const domain = (type: string, tags: string[] = []): DomainInfo => ({
  type,
  tags,
  running: true,
  templateForDispvms: false,
  defaultDispvm: null,
})
const system: SystemInfo = {
  domains: new Map([
    ['dom0', domain('AdminVM')],
    ['mgmt', domain('AppVM')],
    ['store', domain('AppVM', ['storage'])],
    ['vault', domain('AppVM')],
  ]),
}

const deepTree = `import os,sys
os.chdir(sys.argv[1])
for _ in range(60):
    os.mkdir('d'*200); os.chdir('d'*200)
os.chmod('.', 0)`

let run: string
let broker: Broker
let lines: string[]
let listeners: Listener[]

const policy = (text: string) => broker.setPolicy(parsePolicy(new Map([['30-test.policy', text]])))
const socketOf = (vm: VmName, name = 'qrexec.sock') => join(run, vm, name)
const fromVm = (vm: VmName) => localTransport(socketOf(vm))
const logged = () => lines.map(line => JSON.parse(line).message as string)

/** Everything that comes in is answered with itself, in upper case, prefixed by who asked for what. */
const echo: Handler = async ({ stream, source, service, argument, requested }: IncomingCall) => {
  const body = (await readAll(stream, 1000)).parse(bytes => Buffer.from(bytes).toString())
  const asked = requested ? ` ${requested.type} ${requested.target}` : ''
  stream.end(`${source} ${service}+${argument}${asked}: ${body.toUpperCase()}`)
}

async function serve(vm: VmName, handlers: Record<string, Handler>): Promise<void> {
  const server = createServer(handlers, { log: silentLog })
  listeners.push(await listenSocket(socketOf(vm, 'services.sock'), stream => server.accept(stream)))
}

async function say(stream: Duplex, text: string): Promise<string> {
  stream.end(text)
  return (await readAll(stream, 10_000)).parse(bytes => Buffer.from(bytes).toString())
}

beforeEach(async () => {
  run = await mkdtemp(join(tmpdir(), 'broker-'))
  lines = []
  listeners = []
  const log = createLog('broker', line => lines.push(line))
  broker = createBroker({ runDirectory: run, system: () => system, log })
  for (const vm of [dom0, mgmt, store, vault]) await broker.addVm(vm)
})

afterEach(async () => {
  await Promise.all(listeners.map(listener => listener.close()))
  await broker.close()
  await rm(run, { recursive: true })
})

describe('a call through the broker', () => {
  test('reaches the target, which is told who calls, and in dom0 for what', async () => {
    policy('test.Echo * mgmt @tag:storage allow\ntest.Echo * mgmt @adminvm allow target=dom0\n')
    await serve(store, { 'test.Echo': echo })
    await serve(dom0, { 'test.Echo': echo })
    const toStore = await fromVm(mgmt).open('test.Echo', 'x', store, never)
    expect(await say(toStore, 'hello')).toBe('mgmt test.Echo+x: HELLO')
    const toDom0 = await fromVm(mgmt).open('test.Echo', '', dom0, never)
    expect(await say(toDom0, 'hello')).toBe('mgmt test.Echo+ name dom0: HELLO')
    const keyword = await fromVm(mgmt).open('test.Echo', '', '@adminvm' as VmName, never)
    expect(await say(keyword, '')).toBe('mgmt test.Echo+ keyword adminvm: ')
    expect(logged()[0]).toBe('test.Echo+x: mgmt -> store: allowed to store')
  })

  test('is known by its socket alone', async () => {
    policy('test.Echo * mgmt store allow\n')
    await serve(store, { 'test.Echo': echo })
    await expect(fromVm(vault).open('test.Echo', '', store, never)).rejects.toMatchObject({
      code: 'QREXEC_REFUSED',
    })
    expect(logged()).toEqual(['test.Echo+: vault -> store: denied: no rule matches'])
  })

  test('is denied without a policy, by a rule, and where a person would be asked', async () => {
    await serve(store, { 'test.Echo': echo })
    const call = () => fromVm(mgmt).open('test.Echo', '', store, never)
    await expect(call()).rejects.toMatchObject({ code: 'QREXEC_REFUSED', kind: 'refused' })
    policy('* * mgmt store deny\n* * @anyvm @anyvm allow\n')
    await expect(call()).rejects.toMatchObject({ code: 'QREXEC_REFUSED' })
    policy('* * mgmt store ask\n')
    await expect(call()).rejects.toMatchObject({ code: 'QREXEC_REFUSED' })
    expect(logged()[2]).toBe('test.Echo+: mgmt -> store: denied: nobody is there to be asked')
  })

  test('goes where the rule redirects it', async () => {
    policy('test.Echo * mgmt @default allow target=store\n')
    await serve(store, { 'test.Echo': echo })
    const stream = await fromVm(mgmt).open('test.Echo', '', 'nosuch' as VmName, never)
    expect(await say(stream, 'x')).toBe('mgmt test.Echo+: X')
  })

  test('to a VM that serves nothing, and to an unknown service, is unreachable', async () => {
    policy('* * mgmt @anyvm allow\n')
    const nothing = fromVm(mgmt).open('test.Echo', '', vault, never)
    await expect(nothing).rejects.toMatchObject({ code: 'QREXEC_UNREACHABLE', kind: 'unavailable' })
    await serve(store, {})
    const stream = await fromVm(mgmt).open('test.Echo', '', store, never)
    expect(await say(stream, 'x').catch(() => '')).toBe('')
  })

  test('cannot smuggle a second field into the descriptor', async () => {
    policy('* * mgmt @anyvm allow\n')
    await serve(store, { 'test.Echo': echo })
    const socket = await connectSocket(socketOf(mgmt))
    socket.write('store test.Echo+x dom0\0')
    const answer = await say(socket, 'hi')
    expect(answer).toBe('\0mgmt test.Echo+x_dom0: HI')
  })

  test('passes one direction’s end on without closing the other', async () => {
    policy('* * mgmt store allow\n')
    let fromService: Duplex | null = null
    await serve(store, {
      'test.Talk': async ({ stream }) => {
        fromService = stream
        stream.write('first')
        const all = await readAll(stream, 100)
        stream.end(all.parse(bytes => `then ${bytes.byteLength}`))
      },
    })
    const stream = await fromVm(mgmt).open('test.Talk', '', store, never)
    expect(await say(stream, '12345')).toBe('firstthen 5')
    expect(fromService).not.toBeNull()
  })

  test('carries much in both directions at once, unchanged', async () => {
    policy('* * mgmt store allow\n')
    await serve(store, {
      'test.Mirror': async ({ stream }) => {
        for await (const part of stream)
          if (!stream.write(part)) await new Promise(go => stream.once('drain', go))
        stream.end()
      },
    })
    const stream = await fromVm(mgmt).open('test.Mirror', '', store, never)
    const sent = randomBytes(8 * 1024 * 1024)
    const received = readAll(stream, sent.byteLength)
    stream.end(sent)
    expect((await received).parse(bytes => Buffer.from(bytes).equals(sent))).toBe(true)
  })

  test('a broken caller breaks the service’s stream, and a signal breaks the caller’s', async () => {
    policy('* * mgmt store allow\n')
    let closed: Promise<void> = Promise.resolve()
    await serve(store, {
      'test.Endless': ({ stream }) => {
        closed = new Promise(resolve => stream.once('close', resolve))
        const more = () => {
          while (!stream.destroyed && stream.write(Buffer.alloc(65536)));
        }
        stream.on('drain', more)
        more()
        return closed
      },
    })
    const abort = new AbortController()
    const stream = await fromVm(mgmt).open('test.Endless', '', store, abort.signal)
    await new Promise(resolve => stream.once('readable', resolve))
    abort.abort(new Error('enough'))
    expect(stream.destroyed).toBe(true)
    await closed
  })

  test('malformed requests end the connection and nothing else', async () => {
    policy('* * mgmt store allow\n')
    await serve(store, { 'test.Echo': echo })
    for (const request of ['\0', 'store\0', 'store +x\0', 'x'.repeat(2000), 'cut off']) {
      const socket = await connectSocket(socketOf(mgmt))
      socket.on('error', () => {})
      expect(await say(socket, request).catch(() => '')).toBe('')
    }
    expect(await say(await fromVm(mgmt).open('test.Echo', '', store, never), 'x')).toBe('mgmt test.Echo+: X')
  })

  test('a VM has a bounded number of connections', async () => {
    policy('* * mgmt store allow\n')
    const open = await Promise.all(Array.from({ length: 64 }, () => connectSocket(socketOf(mgmt))))
    await expect(fromVm(mgmt).open('test.Echo', '', store, never)).rejects.toMatchObject({
      code: 'QREXEC_UNREACHABLE',
    })
    for (const socket of open) socket.destroy()
    await expect(fromVm(vault).open('test.Echo', '', store, never)).rejects.toMatchObject({
      code: 'QREXEC_REFUSED',
    })
  })

  test('a VM cannot put a link to another VM’s socket in place of its own', async () => {
    policy('* * mgmt vault allow\n')
    await serve(store, { 'test.Echo': echo })
    await symlink(socketOf(store, 'services.sock'), socketOf(vault, 'services.sock'))
    await expect(fromVm(mgmt).open('test.Echo', '', vault, never)).rejects.toMatchObject({
      code: 'QREXEC_UNREACHABLE',
    })
  })

  test('a VM cannot keep the broker from starting again', async () => {
    await broker.close()
    await rm(socketOf(mgmt), { force: true })
    await mkdir(join(socketOf(mgmt), 'full'), { recursive: true })
    broker = createBroker({ runDirectory: run, system: () => system, log: silentLog })
    await broker.addVm(mgmt)
    expect((await stat(socketOf(mgmt))).isSocket()).toBe(true)
  })

  test('nor with a path that is too long to be removed by name', async () => {
    const made = spawnSync('python3', ['-c', deepTree, join(run, mgmt)], { encoding: 'utf8' })
    expect(made.stderr).toBe('')
    await broker.close()
    const again = createBroker({ runDirectory: run, system: () => system, log: silentLog })
    await again.addVm(mgmt)
    expect(await readdir(join(run, mgmt))).toEqual(['qrexec.sock'])
    // And nothing of it is left, whoever runs this.
    expect((await readdir(run)).filter(name => name.startsWith('.'))).toEqual([])
    await again.close()
  })

  test('sockets and directories are private', async () => {
    expect((await stat(socketOf(mgmt))).mode & 0o777).toBe(0o600)
    expect((await stat(join(run, mgmt))).mode & 0o777).toBe(0o700)
  })
})

describe('dom0', () => {
  test('calls services directly, as dom0, and no policy is asked', async () => {
    await serve(store, { 'test.Echo': echo })
    const transport = dom0Transport(vm => socketOf(vm, 'services.sock'))
    expect(await say(await transport.open('test.Echo', 'x', store, never), 'hi')).toBe('dom0 test.Echo+x: HI')
    await expect(transport.open('test.Echo', 'x', vault, never)).rejects.toMatchObject({
      code: 'QREXEC_UNREACHABLE',
    })
    await expect(transport.open('test.Echo', 'x y', store, never)).rejects.toMatchObject({
      code: 'QREXEC_REQUEST_INVALID',
    })
  })
})

describe('disposables', () => {
  const control = () => join(run, 'dom0', 'control.sock')

  test('come with a tag that policy knows, and go when disposed of', async () => {
    policy(`test.Echo * @tag:${sandboxTag} store allow\n`)
    await serve(store, { 'test.Echo': echo })
    listeners.push(await serveControl({ path: control(), broker, entropy: systemEntropy, log: silentLog }))
    const disposable = await createDisposable(control())
    expect(disposable.name).toMatch(/^disp\d+$/)
    const socket = join(disposable.directory, 'qrexec.sock')
    const stream = await localTransport(socket).open('test.Echo', '', store, never)
    expect(await say(stream, 'x')).toBe(`${disposable.name} test.Echo+: X`)
    await disposable[Symbol.asyncDispose]()
    await expect(stat(disposable.directory)).rejects.toMatchObject({ code: 'ENOENT' })
  })

  test('end with the connection that made them', async () => {
    listeners.push(await serveControl({ path: control(), broker, entropy: systemEntropy, log: silentLog }))
    const socket = await connectSocket(control())
    socket.write('{"create":"disp"}\n')
    const [reply] = (await new Promise<Buffer>(resolve => socket.once('data', resolve)))
      .toString()
      .split('\n')
    const { directory } = JSON.parse(reply ?? '')
    expect((await stat(directory)).isDirectory()).toBe(true)
    socket.destroy()
    await expect
      .poll(() =>
        stat(directory).then(
          () => 'there',
          error => error.code,
        ),
      )
      .toBe('ENOENT')
  })

  test('of others, and VMs that are none, cannot be removed', async () => {
    listeners.push(await serveControl({ path: control(), broker, entropy: systemEntropy, log: silentLog }))
    const socket = await connectSocket(control())
    socket.end('{"remove":"store"}\nnonsense\n{"create":"vm"}\n{}\n')
    const text = (await readAll(socket, 10_000)).parse(bytes => Buffer.from(bytes).toString())
    expect(text.trim().split('\n').length).toBe(4)
    for (const line of text.trim().split('\n')) expect(JSON.parse(line)).toHaveProperty('error')
    expect((await stat(socketOf(store))).isSocket()).toBe(true)
  })

  test('cannot be had without a broker', async () => {
    await expect(createDisposable(control())).rejects.toMatchObject({ code: 'BROKER_UNAVAILABLE' })
  })
})
