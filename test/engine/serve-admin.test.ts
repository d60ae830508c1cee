import { describe, expect, it } from 'vitest'
import { KiB } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { dom0, parseVmName, type VmName } from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import {
  cancelService,
  eventsService,
  executeService,
  infoService,
  serveAdmin,
} from '../../src/engine/serve-admin.ts'
import type { Vm } from '../../src/host/inventory.ts'
import { mgmt, passphraseText, testBench, testProfile } from '../support/engine.ts'
import { type AdminRequest, adminClient, everything, nothing, only } from './admin-client.ts'

const execute: AdminRequest = { service: executeService, argument: 'nightly' }
const info: AdminRequest = { service: infoService, argument: 'nightly' }
const cancel: AdminRequest = { service: cancelService, argument: 'nightly' }
const events: AdminRequest = { service: eventsService }

const exception = (type: string, message: string) => `2\0${type}\0\0${message}\0`

/** An HSM VM that answers when the test says so, or when the job is cancelled. */
function waitingRelease() {
  const gate = Promise.withResolvers<void>()
  const asked = Promise.withResolvers<void>()
  return {
    asked: asked.promise,
    answer: () => gate.resolve(),
    async release(_request: unknown, signal: AbortSignal) {
      asked.resolve()
      await new Promise<void>((resolve, reject) => {
        gate.promise.then(resolve)
        signal.addEventListener('abort', () => reject(signal.reason))
      })
      return Secret.take(Buffer.from(passphraseText))
    },
  }
}

describe('admin.backup.Execute', () => {
  it('answers an empty OK when the backup has finished', async () => {
    const one = await testBench()
    expect(await adminClient(one).ask(execute)).toBe('0\0')
    expect(one.ledger.repository(one.profile, 1)?.snapshots).toHaveLength(1)
  })

  it('works for a caller who is refused Info and events', async () => {
    const one = await testBench()
    expect(await adminClient(one, nothing).ask(execute)).toBe('0\0')
  })

  it('refuses a second one of a running profile, and does not ask the HSM VM for it', async () => {
    const hsm = waitingRelease()
    const one = await testBench({ release: hsm.release })
    const client = adminClient(one)
    const first = client.ask(execute)
    await hsm.asked
    expect(await client.ask(execute)).toBe('2\0BackupAlreadyRunningError\0\0Backup already running\0')
    expect(one.released).toHaveLength(1)
    hsm.answer()
    expect(await first).toBe('0\0')
  })

  it('says that it is running, not that a limit is reached', async () => {
    const hsm = waitingRelease()
    const profileText = `${testProfile}strongroom:\n  limits:\n    orders_per_day: 1\n`
    const one = await testBench({ release: hsm.release, profileText })
    const client = adminClient(one)
    const first = client.ask(execute)
    await hsm.asked
    expect(await client.ask(execute)).toBe(exception('BackupAlreadyRunningError', 'Backup already running'))
    hsm.answer()
    await first
    expect(await client.ask(execute)).toMatch(/^2\0QubesException\0\0more than 1 orders .*\(ORDER_LIMIT\)\0$/)
  })

  it('goes on when the caller hangs up', async () => {
    const hsm = waitingRelease()
    const one = await testBench({ release: hsm.release })
    const stream = adminClient(one).open(execute)
    await hsm.asked
    stream.destroy()
    hsm.answer()
    const [job] = one.orders.board.list()
    if (job === undefined) throw new Error('no job')
    expect((await one.orders.ended(job.id)).state).toBe('done')
  })

  it('answers a failure without the names that stand in its message', async () => {
    const one = await testBench({ profileText: testProfile.replace('personal', 'personal, secret-project') })
    const answer = await adminClient(one).ask(execute)
    expect(answer).toMatch(/^2\0QubesException\0\0.*\(PROFILE_VM_UNKNOWN\)\0$/)
    expect(answer).not.toContain('secret-project')
    expect(JSON.stringify(one.orders.board.list())).not.toContain('secret-project')
  })
})

describe('admin.backup.Cancel', () => {
  it('ends a backup that waits for the passphrase', async () => {
    const hsm = waitingRelease()
    const one = await testBench({ release: hsm.release })
    const client = adminClient(one)
    const running = client.ask(execute)
    await hsm.asked
    expect(await client.ask(cancel)).toBe('0\0')
    expect(await running).toBe('2\0BackupCancelledError\0\0Backup cancelled\0')
    expect(one.storage.journal).toEqual([])
  })

  it('ends a backup from the moment that anyone can know of it', async () => {
    const one = await testBench()
    const client = adminClient(one)
    const heard = Promise.withResolvers<string>()
    one.orders.board.subscribe(job => {
      if (job.state === 'waiting') heard.resolve(client.ask(cancel))
    })
    expect(await client.ask(execute)).toBe(exception('BackupCancelledError', 'Backup cancelled'))
    expect(await heard.promise).toBe('0\0')
  })

  it('of one that is not running is refused', async () => {
    const one = await testBench()
    const client = adminClient(one)
    const refused = exception('QubesException', 'Backup operation not running')
    expect(await client.ask(cancel)).toBe(refused)
    expect(await client.ask({ ...cancel, argument: 'unknown' })).toBe(refused)
    await client.ask(execute)
    expect(await client.ask(cancel)).toBe(refused)
  })
})

describe('the checks of every admin.backup call', () => {
  // qubesd looks for a file of that name, whatever the name; `qvm-backup` fails with a traceback at a ProtocolError.
  it.each([
    [infoService, 'X'],
    [infoService, '.hidden'],
    [infoService, '.._nightly'],
    [executeService, 'X'],
    [executeService, '.hidden'],
  ])('refuse an unknown profile: %s+%s', async (service, argument) => {
    const one = await testBench()
    expect(await adminClient(one).ask({ service, argument })).toBe(
      exception('QubesBackupProfileNotFoundError', `Backup profile does not exist: ${argument}`),
    )
  })

  it.each([execute, info, cancel])('are those of qubesd, in its order: $service', async request => {
    const one = await testBench()
    const { ask } = adminClient(one)
    const elsewhere = { type: 'name', target: 'work' } as const
    expect(await ask({ ...request, argument: '', payload: 'x', requested: elsewhere })).toBe(
      exception('ProtocolError', 'unexpected payload'),
    )
    expect(await ask({ ...request, argument: '', requested: elsewhere })).toBe(
      exception('ProtocolError', 'expected an argument'),
    )
    expect(await ask({ ...request, requested: elsewhere })).toBe(
      exception('ProtocolError', 'expected destination to be AdminVM'),
    )
    expect(one.orders.board.list()).toEqual([])
  })

  it('accept dom0 by its keyword too', async () => {
    const one = await testBench()
    const requested = { type: 'keyword', target: 'adminvm' } as const
    expect(await adminClient(one).ask({ ...info, requested })).toMatch(/^0\0/)
  })

  it('give no answer at all to a payload that is too long', async () => {
    const one = await testBench()
    expect(await adminClient(one).ask({ ...execute, payload: 'x'.repeat(64 * KiB + 1) })).toBe('')
    expect(one.orders.board.list()).toEqual([])
  })

  it('refuse a slash, which qrexec itself would not let through', async () => {
    const one = await testBench()
    const { duplexPair } = await import('node:stream')
    const [client, stream] = duplexPair()
    client.end()
    const handler = serveAdmin(one.ports, one.orders, everything)[executeService]
    await expect(
      handler?.({ service: executeService, argument: '../nightly', source: mgmt, stream }),
    ).rejects.toThrow('slash')
    expect(String(client.read())).toBe(
      exception('ProtocolError', 'Backup profile ID must not contain forward slash character'),
    )
  })
})

describe('admin.backup.Info', () => {
  const vm = (name: string, more: Partial<Vm> = {}): Vm => ({
    name: parseVmName(name),
    class: 'AppVM',
    tags: [],
    running: false,
    includeInBackups: true,
    volumes: [{ name: 'private', bytes: 2 * 1024 * KiB, usage: 300 * KiB }],
    ...more,
  })

  async function summary(
    vms: readonly Vm[],
    {
      include = 'work',
      judge = everything,
      source = mgmt,
    }: { include?: string; judge?: typeof everything; source?: VmName } = {},
  ): Promise<string> {
    const one = await testBench({ profileText: testProfile.replace('work, personal', include) })
    const ports = { ...one.ports, inventory: { list: async () => [...vms, vm('store'), vm('vault')] } }
    return adminClient({ ...one, ports }, judge).ask({ ...info, source })
  }

  const captured = `------------------+--------------+--------------+
               VM |         type |         size |
------------------+--------------+--------------+
             work |           VM |    300.0 KiB |
------------------+--------------+--------------+
      Total size: |                   300.0 KiB |
------------------+--------------+--------------+
VMs not selected for backup:
 - dom0
 - store
 - vault
`

  // Captured on a machine without the VM `store`.
  it('is what qubesd was captured to answer, byte for byte', async () => {
    expect(await summary([vm('work'), vm('dom0', { class: 'AdminVM', volumes: [] })])).toBe(`0\0${captured}`)
  })

  it('has its rows without a rule between them, as qubesd draws it', async () => {
    const answer = await summary([vm('work'), vm('personal')], { include: 'work, personal' })
    const row = (name: string) => `${name.padStart(17)} |           VM |    300.0 KiB |`
    const rule = '------------------+--------------+--------------+'
    expect(answer.split('\n').slice(2, 6)).toEqual([rule, row('personal'), row('work'), rule])
  })

  it('hides every name that the caller may not list', async () => {
    const vms = [vm('work'), vm('dom0', { class: 'AdminVM', volumes: [] })]
    const judge = only('admin.vm.List+ vault')
    const hidden = captured.replace('            work', '        (hidden)').replace(' - dom0\n - store\n', '')
    expect(await summary(vms, { judge })).toBe(`0\0${hidden}`)
    expect(await summary(vms, { judge: nothing })).toBe(`0\0${hidden.replace(' - vault', ' - ')}`)
    expect(await summary(vms, { judge: nothing, source: dom0 })).toBe(`0\0${captured}`)
  })

  it('shows classes, sizes and running VMs as qubesd does', async () => {
    const size = (usage: number) => [{ name: 'private', bytes: usage, usage }]
    const vms = [
      vm('a', { class: 'StandaloneVM', volumes: size(1023) }),
      vm('b', { class: 'TemplateVM', volumes: size(1024 * KiB) }),
      vm('c', { running: true, volumes: size(3 * 1024 * 1024 * KiB) }),
    ]
    const answer = await summary(vms, { include: 'a, b, c' })
    expect(answer).toContain('                a |     VM + Sys |         1023 |\n')
    expect(answer).toContain('                b |  Template VM |      1.0 MiB |\n')
    expect(answer).toContain(
      '                c |           VM |      3.0 GiB | <-- The VM is running, backup will contain its state from before its start!\n',
    )
  })

  it('asks for no passphrase and starts nothing', async () => {
    const one = await testBench()
    expect(await adminClient(one).ask(info)).toMatch(/^0\0-/)
    expect(one.released).toEqual([])
    expect(one.ledger.size).toBe(1)
  })
})

describe('admin.Events', () => {
  /** A clock on which every look is two seconds later, or no time passes. */
  const ticking = (step: number) => {
    let at = 0
    return {
      entropy: systemEntropy,
      clock: { now: () => new Date(), monotonic: () => (at += step), sleep: async () => {} },
    }
  }
  const established = '1\0\0connection-established\0\0'
  const policy = ['admin.Events+backup-progress @adminvm', 'admin.backup.Execute+nightly @adminvm']

  async function heard(judge: typeof everything, step = 2000, request = events): Promise<string> {
    const one = await testBench({ environment: ticking(step) })
    const client = adminClient(one, judge)
    let text = ''
    const stream = client.open(request).on('data', part => {
      text += part
    })
    while (text === '') await new Promise(setImmediate)
    expect(await client.ask(execute)).toBe('0\0')
    await new Promise(setImmediate)
    stream.destroy()
    return text
  }

  it('begin with connection-established, then tell the progress', async () => {
    const text = await heard(only(...policy))
    expect(text.startsWith(established)).toBe(true)
    const progress = text.slice(established.length).split('1\0\0backup-progress\0').slice(1)
    expect(progress.length).toBeGreaterThan(3)
    for (const one of progress) expect(one).toMatch(/^backup_profile\0nightly\0progress\0\d+(\.\d+)?\0\0$/)
    const percents = progress.map(one => Number(one.split('\0')[3]))
    expect(percents).toEqual(percents.toSorted((a, b) => a - b))
    expect(percents.at(-1)).toBe(100)
  })

  it('come at most once a second', async () => {
    const text = await heard(only(...policy), 0)
    expect(text.match(/backup-progress/g)).toHaveLength(1)
  })

  it.each(policy)('are not for a caller without %s', async missing => {
    expect(await heard(only(...policy.filter(one => one !== missing)))).toBe(established)
  })

  it('of one VM have none of a backup', async () => {
    const requested = { type: 'name', target: 'work' } as const
    expect(await heard(everything, 2000, { ...events, requested })).toBe(established)
  })

  it('take no argument', async () => {
    const one = await testBench()
    expect(await adminClient(one).ask({ ...events, argument: 'backup-progress' })).toBe(
      exception('ProtocolError', 'unexpected argument'),
    )
  })

  it('do no harm to a backup when nobody reads them, or the judge fails', async () => {
    const one = await testBench({ environment: ticking(2000) })
    const failing = {
      allows: () => {
        throw new Error('planted')
      },
    }
    adminClient(one, failing).open(events)
    const client = adminClient(one)
    client.open(events).pause()
    client.open(events).destroy()
    expect(await client.ask(execute)).toBe('0\0')
  })

  it('are kept for a few of one VM: the oldest gives way', async () => {
    const one = await testBench()
    const client = adminClient(one)
    const streams = Array.from({ length: 9 }, () => client.open(events).resume())
    await new Promise(resolve => streams[0]?.once('close', resolve).once('end', resolve))
    expect(streams.slice(1).every(stream => !stream.readableEnded)).toBe(true)
    for (const stream of streams) stream.destroy()
  })
})
