import { execFileSync } from 'node:child_process'
import {
  mkdir,
  mkdtemp,
  open,
  readFile,
  rm,
  stat,
  statfs,
  truncate,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { duplexPair } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { systemClock, systemEntropy } from '../../src/base/environment.ts'
import { CodedError, errnoOf } from '../../src/base/errors.ts'
import { silentLog } from '../../src/base/log.ts'
import { dom0, parseVmName } from '../../src/base/names.ts'
import { type MeasurePorts, serveMeasure } from '../../src/engine/measure.ts'
import { systemCommands } from '../../src/host/commands.ts'
import { knownFileSystems } from '../../src/host/local/file-systems.ts'
import { localInventory } from '../../src/host/local/inventory.ts'
import { FileMeasurer } from '../../src/host/local/measured-files.ts'
import { localVolumes } from '../../src/host/local/volumes.ts'
import { allCalls } from '../../src/qrexec/calls/all.ts'
import { type Measurement, measureObject } from '../../src/qrexec/calls/measure.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { evaluate } from '../../src/qrexec/policy.ts'
import { parsePolicy } from '../../src/qrexec/policy-files.ts'
import type { DomainInfo, SystemInfo } from '../../src/qrexec/policy-system.ts'
import { renderPolicy } from '../../src/qrexec/render-policy.ts'
import { createServer } from '../../src/qrexec/server.ts'
import { directoryEntries } from '../../src/sealing/image-source.ts'
import { stageTree } from '../../src/sealing/image-stage.ts'

const monitor = parseVmName('sys-monitor')
const never = new AbortController().signal
/** All that was written an hour ago is at rest. */
const clock = { ...systemClock, now: () => new Date(Date.now() + 3_600_000) }
const rootBytes = 3 * 1024 * 1024

let directory: string
const at = (name: string) => path.join(directory, name)
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'measure-'))
  for (const name of ['store/version-1', 'product/src', 'product/.git', 'policy.d', 'machine'])
    await mkdir(at(name), { recursive: true })
  await writeFile(at('store/version-1/snapshot.json'), '{}')
  await writeFile(at('product/src/dom0.ts'), 'run()')
  await writeFile(at('product/.git/index'), 'not a part of the product')
  await writeFile(at('policy.d/30.policy'), 'deny')
  await makeVm('debian-12', 'TemplateVM')
  await makeVm('work', 'AppVM')
})
afterEach(() => rm(directory, { recursive: true }))

async function makeVm(name: string, type: string): Promise<void> {
  await mkdir(at(`machine/${name}`))
  await writeFile(at(`machine/${name}/root.img`), `${name} `.repeat(20_000))
  await truncate(at(`machine/${name}/root.img`), rootBytes)
  const volumes = { root: 'root.img' }
  const vm = { class: type, tags: [], running: false, includeInBackups: false, volumes }
  await writeFile(at(`machine/${name}/vm.json`), JSON.stringify(vm))
}

const sealed = new Map([
  ['policy/30-strongroom.policy', utf8('allow')],
  ['profiles/work.conf', utf8('include:\n- work\n')],
  ['profiles/a.b', utf8('')],
  ['profiles/a/b', utf8('x')],
  ['roles.json', utf8('{}')],
])

function ports(changes: Partial<MeasurePorts> = {}): MeasurePorts {
  const files = new FileMeasurer({ clock, boot: 'boot', fileSystemOf: async () => 0xef53n })
  return {
    inventory: localInventory(at('machine')),
    volumes: localVolumes({
      root: at('machine'),
      copies: at('copies'),
      clock,
      entropy: systemEntropy,
      commands: systemCommands,
      boot: 'boot',
      log: silentLog,
    }),
    files: (root, only, signal) => files.measure(root, only, signal),
    sealedFiles: async () => sealed,
    places: {
      store: at('store'),
      agent: { root: at('product'), only: ['src', 'package.json'] },
      policy: at('policy.d'),
    },
    ...changes,
  }
}

function client(of: MeasurePorts = ports()) {
  const server = createServer(serveMeasure(of), { log: silentLog })
  const transport = {
    async open(service: string, argument: string, _target: string, signal: AbortSignal) {
      const [here, there] = duplexPair()
      server.accept(there)
      const requested = { type: 'name', target: dom0 } as const
      here.write(encodeDescriptor({ service, argument, source: monitor, requested }))
      // As of a socket, whose other end is told.
      const gone = () => [here, there].map(one => one.destroy())
      signal.addEventListener('abort', gone, { once: true })
      return here
    },
  }
  return (object: string, signal = never): Promise<Measurement> =>
    callOver(transport, measureObject, dom0, object, undefined, signal, 20_000)
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'ok',
    error => (error instanceof CodedError ? error.code : (errnoOf(error) ?? String(error))),
  )
}

async function digestOf(tree: string): Promise<string> {
  const stage = await mkdtemp(at('stage-'))
  return (await stageTree(directoryEntries(tree), stage, () => {}, never)).digest
}

describe('files', () => {
  test('of the policy, the store and the agent, read once', async () => {
    const measure = client()
    const policy = await measure('policy')
    expect(policy).toEqual({
      kind: 'files',
      digest: await digestOf(at('policy.d')),
      files: 1,
      bytes: 4,
      bytesRead: 4,
    })
    expect(await measure('policy')).toEqual({ ...policy, bytesRead: 0 })
    expect(await measure('store')).toMatchObject({ digest: await digestOf(at('store')), bytesRead: 2 })
    const agent = await measure('agent')
    expect(agent).toMatchObject({ files: 1, bytes: 5, bytesRead: 5 })
    await writeFile(at('product/.git/index'), 'still not')
    expect(await measure('agent')).toEqual({ ...agent, bytesRead: 0 })
    await writeFile(at('product/src/dom0.ts'), 'ran()')
    expect((await measure('agent')).digest).not.toBe(agent.digest)
  })

  test('of the profiles, and of the sealed policy where that is the one in force', async () => {
    const measure = client(ports({ places: { ...ports().places, policy: null } }))
    for (const [name, content] of sealed) {
      await mkdir(path.dirname(at(`draft/${name}`)), { recursive: true })
      await writeFile(at(`draft/${name}`), content)
    }
    expect(await measure('profiles')).toMatchObject({
      digest: await digestOf(at('draft/profiles')),
      files: 3,
      bytes: 17,
    })
    expect(await measure('policy')).toMatchObject({ digest: await digestOf(at('draft/policy')), files: 1 })
  })

  test('of a store that does not verify are none', async () => {
    const measure = client(
      ports({
        sealedFiles: () =>
          Promise.reject(new CodedError('SEAL_X', { kind: 'integrity', meaning: '', hint: '' }, 'no')),
      }),
    )
    expect(await codeOf(measure('profiles'))).toBe('SEAL_X')
    expect(await codeOf(measure('store'))).toBe('ok')
  })
})

describe('a template', () => {
  const image = () => at('machine/debian-12/root.img')
  const stock = () => {
    const options = ['--salt', '-', '--root-hash-file', at('root')]
    execFileSync('/sbin/veritysetup', ['format', ...options, image(), at('tree')])
    return readFile(at('root'), 'utf8').then(text => text.trim())
  }

  test('has the root hash that veritysetup gives it, read once', async () => {
    const measure = client()
    const first = await measure('template-debian-12')
    expect(first).toEqual({
      kind: 'image',
      digest: await stock(),
      files: 1,
      bytes: rootBytes,
      bytesRead: rootBytes,
    })
    const { type } = await statfs(image(), { bigint: true })
    const bytesRead = knownFileSystems.has(type) ? 0 : rootBytes
    expect(await measure('template-debian-12')).toEqual({ ...first, bytesRead })
  })

  test('of which a byte was changed has another, although size and mtime are as before', async () => {
    const measure = client()
    const first = await measure('template-debian-12')
    const { atimeMs, mtimeMs } = await stat(image())
    const handle = await open(image(), 'r+')
    await handle.write(Buffer.of(1), 0, 1, rootBytes - 1)
    await handle.close()
    await utimes(image(), atimeMs / 1000, mtimeMs / 1000)
    const second = await measure('template-debian-12')
    expect(second).toMatchObject({ digest: await stock(), bytesRead: rootBytes })
    expect(second.digest).not.toBe(first.digest)
  })

  test('of which the host says that it is unchanged is not read', async () => {
    let isUnchanged = true
    const { volumes } = ports()
    const measure = client(
      ports({
        volumes: {
          async freeze(vm, signal) {
            const frozen = await volumes.freeze(vm, signal)
            return {
              ...frozen,
              vm,
              volumes: frozen.volumes.map(volume => ({
                ...volume,
                state: { source: 'test', mark: 'x' },
                async *extents(since) {
                  const half = volume.bytes / 2
                  yield { kind: since === null ? 'data' : 'unchanged', offset: 0, length: half } as const
                  const rest = isUnchanged && since !== null ? 'unchanged' : 'hole'
                  yield { kind: rest, offset: half, length: half } as const
                },
              })),
              keep: names => frozen.keep(names),
              [Symbol.asyncDispose]: () => frozen[Symbol.asyncDispose](),
            }
          },
        },
      }),
    )
    const first = await measure('template-debian-12')
    expect(first.bytesRead).toBe(rootBytes)
    expect(await measure('template-debian-12')).toEqual({ ...first, bytesRead: 0 })
    isUnchanged = false
    expect(await measure('template-debian-12')).toEqual(first)
  })

  test('that changed while it was read has none, and nothing is remembered of it', async () => {
    const { volumes } = ports()
    let writes = 0
    const measure = client(
      ports({
        volumes: {
          async freeze(vm, signal) {
            const frozen = await volumes.freeze(vm, signal)
            writes += 1
            if (writes === 1) await writeFile(image(), Buffer.alloc(rootBytes, 7))
            return frozen
          },
        },
      }),
    )
    expect(await codeOf(measure('template-debian-12'))).toMatch(/^(VOLUME_CHANGED|ok)$/)
    expect(await measure('template-debian-12')).toMatchObject({ digest: await stock(), bytesRead: rootBytes })
  })
})

describe('refused is', () => {
  test.each([
    '',
    'Policy',
    'policy.d',
    'keys',
    'template-',
    'template-work',
    'template-nothing',
    'template-dom0',
  ])('an object that is not measured: %j', async object => {
    expect(await codeOf(client()(object))).toMatch(/^(MEASURE_UNKNOWN|NAME_INVALID)$/)
  })

  test('the same for a VM that is no template as for one that does not exist', async () => {
    const said = (object: string) => client()(object).catch(error => [error.code, error.message, error.hint])
    expect(await said('template-work')).toEqual(await said('template-nothing'))
  })

  test('what takes too long', async () => {
    const files: MeasurePorts['files'] = (_root, _only, signal) =>
      new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    expect(await codeOf(client(ports({ files, millisecondsMax: 1 }))('policy'))).toBe('MEASURE_LATE')
  })
})

test('measurements run one after another, and one whose caller has gone is given up', async () => {
  let running = 0
  let most = 0
  const began = Promise.withResolvers<void>()
  const files: MeasurePorts['files'] = async (root, _only, signal) => {
    running += 1
    most = Math.max(most, running)
    began.resolve()
    try {
      if (root === at('policy.d'))
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      return { digest: (await ports().files(root, null, never)).digest, files: 0, bytes: 0, bytesRead: 0 }
    } finally {
      running -= 1
    }
  }
  const measure = client(ports({ files }))
  const gone = new AbortController()
  const first = codeOf(measure('policy', gone.signal))
  await began.promise
  const second = measure('store')
  gone.abort(new Error('gone'))
  expect(await first).not.toBe('ok')
  expect(await second).toMatchObject({ kind: 'files' })
  expect(most).toBe(1)
})

describe('the policy that is installed', () => {
  const domain: DomainInfo = {
    type: 'AppVM',
    tags: [],
    running: true,
    templateForDispvms: false,
    defaultDispvm: null,
  }
  const system: SystemInfo = {
    domains: new Map([
      ['dom0', { ...domain, type: 'AdminVM' }],
      [monitor, { ...domain, tags: ['strongroom-monitor'] }],
      ...['hsm', 'management', 'storage', 'sandbox'].map(
        role => [role, { ...domain, tags: [`strongroom-${role}`] }] as const,
      ),
      ['work', domain],
    ]),
  }
  const policy = parsePolicy(new Map([['30-strongroom.policy', renderPolicy(allCalls)]]))
  const result = (source: string, service: string, target = '@adminvm') =>
    evaluate(policy, { source, target, service, argument: 'policy' }, system).result

  test('lets a VM for monitoring measure dom0, and nothing else', () => {
    expect(result(monitor, 'strongroom.Measure')).toBe('allow')
    expect(result(monitor, 'strongroom.Measure', 'work')).toBe('deny')
    for (const { service } of allCalls)
      if (service !== 'strongroom.Measure') expect(result(monitor, service)).toBe('deny')
  })

  test.each(['hsm', 'management', 'storage', 'sandbox', 'work'])('lets %s measure nothing', source => {
    expect(result(source, 'strongroom.Measure')).toBe('deny')
  })
})
