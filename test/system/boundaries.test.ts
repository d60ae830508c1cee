import { readFile, rename, rm, symlink } from 'node:fs/promises'
import { connect } from 'node:net'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { root } from '../../scripts/quickstart/provision.ts'
import { utf8 } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/environment.ts'
import { silentLog } from '../../src/base/log.ts'
import { dom0, parseVmName, type VmName } from '../../src/base/names.ts'
import { readAll } from '../../src/base/reader.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { findWalls, walledCommand } from '../../src/host/local/bubblewrap.ts'
import { FileMeasurer } from '../../src/host/local/measured-files.ts'
import { connectSocket } from '../../src/host/local/socket.ts'
import { exitCodes } from '../../src/host/local/status.ts'
import { serviceVms } from '../../src/main/local-home.ts'
import { bindsOf } from '../../src/main/local-vms.ts'
import { parseAnswer } from '../../src/qrexec/admin-api.ts'
import { measureObject } from '../../src/qrexec/calls/measure.ts'
import { releasePassphrase } from '../../src/qrexec/calls/release.ts'
import { encodeConnectRequest, encodeDescriptor } from '../../src/qrexec/framing.ts'
import { runToEnd, strongroom } from './strongroom.ts'
import { LocalSystem } from './system.ts'

/** Who may call whom, tried from where a VM stands: at its own socket, with nothing of ours in between. */

const { hsm, storage, management } = serviceVms
const never = new AbortController().signal
const answerBytesMax = 64 * 1024
const logMilliseconds = 30_000
/** Well formed, with an entry that is none. */
const release = releasePassphrase.request.encode({
  entry: utf8('{}'),
  index: 0,
  checkpoint: 'none',
  inclusion: [],
  consistency: { from: 0, proof: [] },
  attested: null,
})

let system: LocalSystem

beforeAll(async () => {
  system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1 })
})
afterAll(() => system?.[Symbol.asyncDispose]())

describe('calls between VMs', () => {
  test('the management VM may ask dom0 what can be ordered', async () => {
    expect(await ask(management, dom0, 'strongroom.Profiles', '')).toBe(exitCodes.connected)
  })

  const denied: readonly (readonly [VmName, VmName, string, string])[] = [
    [storage, dom0, 'strongroom.Backup', 'nightly'],
    [storage, dom0, 'strongroom.Ledger', ''],
    [storage, dom0, 'admin.backup.Execute', 'nightly'],
    [storage, hsm, 'strongroom.Release', 'nightly'],
    [storage, hsm, 'qubes.BackupPassphrase', 'nightly'],
    [hsm, dom0, 'strongroom.Restore', 'nightly'],
    [hsm, storage, 'strongroom.Storage', 'nightly.e1'],
    [management, hsm, 'strongroom.Release', 'nightly'],
    [management, hsm, 'qubes.BackupPassphrase', 'nightly'],
    [management, hsm, 'strongroom.RestorePassphrase', 'nightly'],
    [management, storage, 'strongroom.Storage', 'nightly.e1'],
    [management, storage, 'strongroom.StorageRead', 'nightly.e1'],
    [management, dom0, 'admin.vm.List', ''],
    [management, dom0, 'strongroom.EpochDestroyed', 'nightly'],
    [storage, dom0, 'strongroom.EpochDestroyed', 'nightly'],
    [management, dom0, 'strongroom.Measure', 'policy'],
    [hsm, dom0, 'strongroom.Measure', 'profiles'],
    [storage, dom0, 'strongroom.Measure', 'store'],
    [management, dom0, 'qubes.VMShell', ''],
  ]
  for (const [source, target, service, argument] of denied)
    test(`${source} may not call ${service} of ${target}, and the attempt is logged`, async () => {
      expect(await ask(source, target, service, argument)).toBe(exitCodes.refused)
      await expectLogged(`${service}+${argument}: ${source} -> ${target}: denied`)
    })
})

describe('a VM for monitoring, which policy lets through', () => {
  const files = new FileMeasurer({ clock: systemClock, boot: null })
  const expected = {
    store: () => files.measure(path.join(system.home.home(dom0), 'sealed/store'), null, never),
    agent: () => files.measure(root, ['node_modules', 'package.json', 'src'], never),
    profiles: () => files.measure(path.join(system.home.directory, 'seal/draft/profiles'), null, never),
    policy: () => files.measure(path.join(system.home.directory, 'seal/draft/policy'), null, never),
  }
  for (const [object, measured] of Object.entries(expected))
    test(`is told what ${object} is`, async () => {
      const { digest, files, bytes } = measureObject.response.decode(await measure(object))
      expect({ digest, files, bytes, bytesRead: bytes }).toEqual(await measured())
    })

  test('is told nothing of a VM that is no template', async () => {
    await expect(measure('template-work')).rejects.toMatchObject({ code: 'MEASURE_UNKNOWN' })
  })
})

describe('the HSM VM, should policy ever let somebody through', () => {
  for (const source of [storage, management])
    test(`refuses ${source}, and records it`, async () => {
      const answer = await callHsm(source, 'strongroom.Release', 'nightly', release)
      expect(() => parseAnswer(answer)).toThrow(expect.objectContaining({ code: 'HSM_REFUSED_CALLER' }))
      expect(await lastDecision()).toMatchObject({
        call: 'release',
        caller: source,
        outcome: 'refused',
        code: 'HSM_REFUSED_CALLER',
      })
    })

  test('refuses dom0 too when its ledger shows no request', async () => {
    const answer = await callHsm(dom0, 'strongroom.Release', 'nightly', release)
    expect(() => parseAnswer(answer)).toThrow(expect.objectContaining({ code: 'HSM_REFUSED_REQUEST' }))
    expect(releasedPassphrases(await decisions())).toBe(0)
  })

  test('says no to qubesd in two lines, which qubesd never takes for a passphrase', async () => {
    for (const [source, code] of [
      [dom0, 'HSM_REFUSED_PURPOSE'],
      [storage, 'HSM_REFUSED_CALLER'],
    ] as const) {
      const answer = await callHsm(source, 'qubes.BackupPassphrase', 'nightly', utf8(''))
      const text = answer.parse(bytes => Buffer.from(bytes).toString('latin1'))
      expect(text).toBe(`strongroom: refused: ${code}\nno passphrase is released\n`)
    }
    expect(releasedPassphrases(await decisions())).toBe(0)
  })

  test('releases for an order, and records why', async () => {
    await system.backup()
    expect(releasedPassphrases(await decisions())).toBe(1)
    expect(await lastDecision()).toMatchObject({ call: 'release', caller: dom0, purpose: 'backup' })
  })
})

describe('the API on the loopback interface', () => {
  const statusOf = async (file: string, headers: Record<string, string> = {}) =>
    (await fetch(`${system.api.address}${file}`, { headers })).status

  test('answers whoever has the token', async () => {
    const token = (await readFile(system.tokenFile, 'utf8')).trim()
    expect(await statusOf('/v1/status', { authorization: `Bearer ${token}` })).toBe(200)
  })

  test('tells nobody else anything, not even which paths there are', async () => {
    const wrong = { authorization: `Bearer ${'0'.repeat(64)}` }
    for (const file of ['/v1/status', '/v1/health', '/openapi.json', '/nothing', '/v1/profiles'])
      for (const headers of [{}, wrong, { authorization: 'Bearer' }, { authorization: 'Basic Og==' }])
        expect(await statusOf(file, headers), file).toBe(401)
  })

  test('takes no order without it', async () => {
    const before = await system.api.request<{ jobs: unknown[] }>('GET', '/v1/jobs')
    const response = await fetch(`${system.api.address}/v1/orders`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ profile: system.profile }),
    })
    expect(response.status).toBe(401)
    const after = await system.api.request<{ jobs: unknown[] }>('GET', '/v1/jobs')
    expect(after.jobs).toHaveLength(before.jobs.length)
  })
})

describe('a person’s commands', () => {
  test('run inside the VM, with its files and not with the machine’s', async () => {
    const inside = (...words: string[]) =>
      strongroom(['host', 'run', hsm, '--home', system.home.directory, ...words])
    const listed = await inside('--', 'hsm', 'envelopes', '--json')
    expect(JSON.parse(listed.stdout)).toMatchObject({ result: [{ profile: 'nightly', epoch: 1 }] })
    const key = path.join(system.home.directory, 'new.key')
    const hidden = await inside('--', 'hsm', 'new-epoch', 'nightly', '--recovery-key', key)
    expect(hidden.code).not.toBe(0)
    const shown = path.join(system.home.directory, 'recovery')
    const made = await inside(
      ...['--write', shown, '--'],
      ...['hsm', 'new-epoch', 'nightly', '--recovery-key', path.join(shown, 'nightly.e2.key')],
    )
    expect(made).toMatchObject({ code: 0, stdout: expect.stringContaining('epoch         2 of nightly') })
    expect(await readFile(path.join(shown, 'nightly.e2.key'), 'utf8')).toContain('AGE-SECRET-KEY-1')
    expect((await inside('--', 'order', 'nightly')).code).toBe(2)
  })

  test('go by settings that no VM can write', async () => {
    const product = { directory: root, node: process.execPath }
    const walls = await findWalls(product, silentLog)
    for (const vm of [dom0, hsm, storage, management]) {
      const file = system.home.settings(vm)
      const program = `const fs = require('node:fs')
        for (const write of [
          () => fs.writeFileSync(${JSON.stringify(file)}, '{}'),
          () => fs.unlinkSync(${JSON.stringify(file)}),
          () => fs.renameSync(${JSON.stringify(file)}, ${JSON.stringify(`${file}.old`)}),
        ])
          try { write(); console.log('written') } catch (error) { console.log(error.code) }`
      const view = { vm, binds: bindsOf(system.home, vm), network: false }
      const [command = '', ...rest] = walledCommand(walls, product, view, [product.node, '-e', program])
      const { stdout } = await runToEnd(command, rest)
      expect(stdout.trim().split('\n'), vm).toEqual([
        expect.stringMatching(/^E(ROFS|ACCES)$/),
        'EBUSY',
        'EBUSY',
      ])
    }
  })
})

describe('what VMs put in the place of their sockets', () => {
  test('a link of the management VM leads nobody from the loopback interface to another VM', async () => {
    const api = path.join(system.home.run(management), 'api.sock')
    const port = Number(new URL(system.api.address).port)
    await rename(api, `${api}.kept`)
    try {
      await symlink(`../${storage}/services.sock`, api)
      const client = connect(port, '127.0.0.1')
      client.write(
        encodeDescriptor({ service: 'strongroom.StorageGrant', argument: 'nightly.e1', source: dom0 }),
      )
      const answer = await readAll(client, answerBytesMax)
      expect(answer.parse(bytes => bytes.byteLength)).toBe(0)
    } finally {
      await rm(api, { force: true })
      await rename(`${api}.kept`, api)
    }
  })
})

/** The status byte that a VM gets for a call at its own socket to the broker. */
async function ask(source: VmName, target: VmName, service: string, argument: string): Promise<number> {
  const stream = await connectSocket(path.join(system.home.run(source), 'qrexec.sock'))
  stream.write(encodeConnectRequest({ target, service, argument }))
  const [first] = (await stream.take(1).toArray()) as Buffer[]
  stream.destroy()
  return first?.[0] ?? -1
}

/** A call as it arrives when qrexec has let it through: `source` is what qrexec says. */
async function callHsm(source: VmName, service: string, argument: string, body: Uint8Array) {
  const stream = await connectSocket(system.home.services(hsm))
  stream.write(encodeDescriptor({ service, argument, source }))
  stream.end(body)
  return readAll(stream, answerBytesMax)
}

async function measure(object: string): Promise<Untrusted<Uint8Array>> {
  const stream = await connectSocket(system.home.services(dom0))
  const source = parseVmName('sys-monitor')
  const requested = { type: 'name', target: dom0 } as const
  stream.write(encodeDescriptor({ service: measureObject.service, argument: object, source, requested }))
  stream.end()
  return new Untrusted(parseAnswer(await readAll(stream, answerBytesMax)))
}

interface Decision {
  readonly call: string
  readonly outcome: string
}

async function decisions(): Promise<readonly Decision[]> {
  const text = await readFile(path.join(system.home.home(hsm), 'releases.jsonl'), 'utf8')
  return text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Decision)
}

async function lastDecision(): Promise<Decision | undefined> {
  return (await decisions()).at(-1)
}

function releasedPassphrases(all: readonly Decision[]): number {
  return all.filter(({ outcome }) => outcome === 'allowed').length
}

async function expectLogged(text: string): Promise<void> {
  const hostLog = path.join(system.home.directory, 'host.log')
  await expect.poll(() => readFile(hostLog, 'utf8'), { timeout: logMilliseconds }).toContain(text)
}
