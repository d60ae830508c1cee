import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { duplexPair } from 'node:stream'
import { text } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { dom0, parseDigest, parseVmName } from '../../src/base/names.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { openWithRecoveryKey } from '../../src/hsm/envelope.ts'
import { releasePassphrase } from '../../src/qrexec/calls/release.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { buildFaultyModule, codeOf, never, TestHsm, textOf } from './support.ts'
import { profile, World } from './world.ts'

const day = 24 * 60 * 60 * 1000

let world: World
beforeEach(async () => {
  world = await World.start()
})
afterEach(() => world.stop())

interface Line {
  readonly outcome: string
  readonly code: string | null
}
const records = (): Line[] =>
  readFileSync(world.recordFile, 'utf8')
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line) as Line)
const lastRecord = () => records().at(-1)

async function sealedPassphrase(): Promise<string> {
  const envelope = new Untrusted(new Uint8Array(readFileSync(world.envelopeFile)))
  using opened = await openWithRecoveryKey(envelope, world.recovery.identity)
  return textOf(opened)
}

describe('a release', () => {
  it('hands dom0 the passphrase for a recorded request, and a cosignature with it', async () => {
    expect(await world.release()).toBe(await sealedPassphrase())
    expect(world.ledger.witnessed.map(({ checkpoint }) => checkpoint.size)).toEqual([world.ledger.size])
    expect(lastRecord()).toMatchObject({
      outcome: 'allowed',
      profile: 'nightly',
      purpose: 'backup',
      index: 1,
    })
    expect(await world.release({ purpose: 'drill' })).toBe(await sealedPassphrase())
  })

  it('is answered once: the same request again is refused, also after a restart', async () => {
    const { request, entry } = await world.request()
    await world.remote().release(request, entry, never)
    expect(await codeOf(() => world.remote().release(request, entry, never))).toBe('HSM_REFUSED_REPLAYED')
    await world.startHsm()
    expect(await codeOf(() => world.remote().release(request, entry, never))).toBe('HSM_REFUSED_REPLAYED')
    expect(lastRecord()).toMatchObject({ outcome: 'refused', code: 'HSM_REFUSED_REPLAYED' })
  })

  it('is for dom0 alone', async () => {
    world.source = parseVmName('sys-mgmt')
    expect(await codeOf(() => world.release())).toBe('HSM_REFUSED_CALLER')
    expect(lastRecord()).toMatchObject({ outcome: 'refused', caller: 'sys-mgmt', code: 'HSM_REFUSED_CALLER' })
    expect(world.store.witness).toBeNull()
  })

  it('needs the same sealed configuration in both VMs', async () => {
    world.configurationDigest = parseDigest('d'.repeat(64))
    expect(await codeOf(() => world.release())).toBe('HSM_REFUSED_CONFIGURATION')
    expect(lastRecord()).toMatchObject({ outcome: 'refused', code: 'HSM_REFUSED_CONFIGURATION' })
  })

  it('keeps to the sealed limit, also when many ask at once, and opens again a day later', async () => {
    const results = await Promise.allSettled(Array.from({ length: 5 }, () => world.release()))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(3)
    expect(await codeOf(() => world.release())).toBe('HSM_REFUSED_LIMIT')
    world.now = new Date(world.now.getTime() + day)
    expect(await world.release()).toBe(await sealedPassphrase())
  })

  it('is given to many that ask at once, each with its own request in the ledger', async () => {
    world.binding = { ...world.binding, releasesPerDay: null }
    const remote = world.remote()
    const wanted = Array.from({ length: 12 }, async () => {
      const { request, entry } = await world.request()
      using passphrase = await remote.release(request, entry, never)
      return textOf(passphrase)
    })
    expect(new Set(await Promise.all(wanted))).toEqual(new Set([await sealedPassphrase()]))
    expect(records().map(({ outcome }) => outcome)).toEqual(Array(12).fill('allowed'))
    expect(world.ledger.witnessed.map(({ checkpoint }) => checkpoint.size)).toEqual([world.ledger.size])
  })

  it('that is withdrawn while others are asked for gives its place up', async () => {
    const remote = world.remote()
    const [one, two, three] = [await world.request(), await world.request(), await world.request()]
    const withdrawn = new AbortController()
    const first = remote.release(one.request, one.entry, never)
    const second = codeOf(() => remote.release(two.request, two.entry, withdrawn.signal))
    const third = remote.release(three.request, three.entry, never)
    withdrawn.abort(new QrexecError('QREXEC_UNREACHABLE', 'the job was cancelled'))
    expect(await second).toBe('QREXEC_UNREACHABLE')
    for (const passphrase of await Promise.all([first, third])) passphrase.dispose()
    expect(records().map(({ outcome }) => outcome)).toEqual(['allowed', 'allowed'])
  })

  it('does not leave the passphrase in the log or the record', async () => {
    const passphrase = await world.release()
    expect(world.logged.join('')).toContain('passphrase allowed')
    expect(world.logged.join('')).not.toContain(passphrase)
    expect(readFileSync(world.recordFile, 'utf8')).not.toContain(passphrase)
  })
})

describe('an envelope', () => {
  it('that is a pipe is refused, and holds up nothing', async () => {
    rmSync(world.envelopeFile)
    execFileSync('mkfifo', [world.envelopeFile])
    expect(await codeOf(() => world.release())).toBe('HSM_ENVELOPE_INVALID')
  })

  it('that is not the sealed one is refused, and the request is not used up', async () => {
    const sealed = readFileSync(world.envelopeFile)
    const { request, entry } = await world.request()
    writeFileSync(world.envelopeFile, Buffer.concat([sealed, Buffer.from('x')]))
    expect(await codeOf(() => world.remote().release(request, entry, never))).toBe('HSM_ENVELOPE_MISMATCH')
    rmSync(world.envelopeFile)
    expect(await codeOf(() => world.remote().release(request, entry, never))).toBe('HSM_ENVELOPE_MISSING')
    writeFileSync(world.envelopeFile, sealed)
    await world.remote().release(request, entry, never)
  })
})

describe('the ledger that is shown', () => {
  it('is followed from where the witness is, when dom0 has forgotten where that is', async () => {
    await world.release()
    const { request, entry } = await world.request()
    using passphrase = await world.remote({ witnessSize: 0 }).release(request, entry, never)
    expect(textOf(passphrase)).toBe(await sealedPassphrase())
  })

  it('must hold the request', async () => {
    const { entry } = await world.request()
    const { request: other } = await world.request()
    expect(await codeOf(() => world.remote().release(other, entry, never))).toBe('HSM_REFUSED_LEDGER')
    expect(lastRecord()).toMatchObject({ outcome: 'refused', code: 'HSM_REFUSED_LEDGER' })
    expect(world.store.witness).toBeNull()
  })

  it('must not be another one by the same key', async () => {
    await world.release()
    world.ledger = await world.newLedger('fork')
    await world.request()
    expect(await codeOf(() => world.release())).toBe('HSM_REFUSED_LEDGER')
    await world.startHsm()
    expect(await codeOf(() => world.release())).toBe('HSM_REFUSED_LEDGER')
  })

  it('must not have become shorter', async () => {
    await world.request()
    await world.release()
    world.ledger = await world.newLedger('rolled-back')
    expect(await codeOf(() => world.release())).toBe('HSM_REFUSED_LEDGER')
  })

  it('must be signed by the sealed key of dom0', async () => {
    const { request, entry } = await world.request()
    const forged = world.ledger
      .checkpoint()
      .replace(/ [A-Za-z0-9+/=]{20,}\n$/, match => ` ${match[2]}${match[1]}${match.slice(3)}`)
    const head = async () => ({ checkpoint: forged, size: world.ledger.size, consistency: [] })
    const code = codeOf(() => world.remote({ head }).release(request, entry, never))
    expect(await code).toBe('HSM_REFUSED_LEDGER')
  })

  it('can be cosigned without a release', async () => {
    await world.request()
    await world.remote().publish(never)
    expect(world.store.witness?.size).toBe(world.ledger.size)
    expect(records()).toEqual([])
    world.source = parseVmName('work')
    expect(await codeOf(() => world.remote().publish(never))).toBe('HSM_REFUSED_CALLER')
  })
})

describe('a request that is no release request', () => {
  it.each([
    ['another entry of the ledger', { type: 'genesis', time: '2026-11-24T03:15:00Z', origin: 'x' }],
    ['not an entry', { type: 'nonsense' }],
  ])('but %s is refused', async (_, content) => {
    const call = {
      entry: new TextEncoder().encode(JSON.stringify(content)),
      index: 0,
      checkpoint: world.ledger.checkpoint(),
      inclusion: [],
      consistency: { from: 0, proof: [] },
      attested: null,
    }
    const ask = () =>
      callOver(world.transport, releasePassphrase, parseVmName('sys-hsm'), profile, call, never, 10_000)
    expect(await codeOf(ask)).toBe('HSM_REFUSED_REQUEST')
  })

  it('but for another profile is refused', async () => {
    const call = await world.call()
    const ask = () =>
      callOver(world.transport, releasePassphrase, parseVmName('sys-hsm'), 'weekly', call, never, 10_000)
    expect(await codeOf(ask)).toBe('HSM_REFUSED_REQUEST')
  })
})

describe('a token that is pulled out', () => {
  it('fails the release with its own code, and serves the next one when it is back', async () => {
    await world.release()
    const elsewhere = path.join(world.directory, 'pulled')
    renameSync(world.hsm.tokens, elsewhere)
    mkdirSync(world.hsm.tokens)
    expect(await codeOf(() => world.release())).toBe('HSM_TOKEN_REMOVED')
    expect(await codeOf(() => world.release())).toBe('HSM_TOKEN_MISSING')
    rmSync(world.hsm.tokens, { recursive: true })
    renameSync(elsewhere, world.hsm.tokens)
    expect(await world.release()).toBe(await sealedPassphrase())
  })
})

describe('a caller that goes away', () => {
  it('stops a token that hangs, and the next caller is served', async () => {
    await world.stop()
    const builds = new TestHsm()
    const fault = path.join(builds.directory, 'fault')
    const modulePath = buildFaultyModule(builds.directory)
    world = await World.start({ modulePath, environment: { FAULT: fault } })
    writeFileSync(fault, 'hang')
    const [client, server] = duplexPair({ allowHalfOpen: true })
    client.end(releasePassphrase.request.encode(await world.call()))
    const incoming = { service: releasePassphrase.service, argument: profile, source: dom0, stream: server }
    const served = codeOf(() => world.handlers[releasePassphrase.service]?.(incoming))
    while (!world.logged.some(line => line.includes('passphrase allowed'))) await systemClock.sleep(20)
    server.destroy()
    expect(await served).toBe('QREXEC_UNREACHABLE')
    writeFileSync(fault, '')
    expect(await world.release()).toBe(await sealedPassphrase())
    expect(records().map(({ outcome, code }) => [outcome, code])).toEqual([
      ['allowed', null],
      ['failed', 'QREXEC_UNREACHABLE'],
      ['allowed', null],
    ])
    builds.remove()
  })
})

describe('a release that is stuck', () => {
  it('ends with its caller, holds up no later one, and is never allowed afterwards', async () => {
    let goOn = () => {}
    let isStuck = false
    const goingOn = new Promise<void>(resolve => {
      goOn = resolve
    })
    world.look = async () => {
      isStuck = true
      await goingOn
    }
    const [client, server] = duplexPair({ allowHalfOpen: true })
    client.end(releasePassphrase.request.encode(await world.call()))
    const incoming = { service: releasePassphrase.service, argument: profile, source: dom0, stream: server }
    const served = codeOf(() => world.handlers[releasePassphrase.service]?.(incoming))
    while (!isStuck) await systemClock.sleep(5)
    world.look = async () => {}
    const next = world.release()
    server.destroy()
    expect(await served).toBe('QREXEC_UNREACHABLE')
    expect(await next).toBe(await sealedPassphrase())
    goOn()
    expect(await world.release()).toBe(await sealedPassphrase())
    expect(records().map(({ outcome }) => outcome)).toEqual(['allowed', 'refused', 'allowed'])
  })
})

describe('the stock call of qubesd', () => {
  async function ask(argument: string = profile): Promise<string> {
    const stream = await world.transport.open(
      'qubes.BackupPassphrase',
      argument,
      parseVmName('sys-hsm'),
      never,
    )
    stream.end()
    return await text(stream)
  }

  it('is answered with the bare passphrase', async () => {
    expect(await ask()).toBe(await sealedPassphrase())
    expect(lastRecord()).toMatchObject({ outcome: 'allowed', call: 'stock', purpose: 'backup', job: null })
  })

  const refusal = (code: string) => `strongroom: refused: ${code}\nno passphrase is released\n`

  it.each([
    [
      'where the binding does not allow it',
      () => {
        world.binding = { ...world.binding, stockPassphrase: false }
      },
      'HSM_REFUSED_PURPOSE',
    ],
    [
      'where the binding wants an attestation, which qubesd has not',
      () => {
        world.binding = { ...world.binding, attestation: 'tpm' }
      },
      'HSM_REFUSED_ATTESTATION',
    ],
    [
      'to another VM',
      () => {
        world.source = parseVmName('work')
      },
      'HSM_REFUSED_CALLER',
    ],
    ['without the envelope', () => rmSync(world.envelopeFile), 'HSM_ENVELOPE_MISSING'],
    [
      'with a wrong PIN',
      () => {
        world.hsm.pin = '000000'
        world.token[Symbol.dispose]()
      },
      'HSM_PIN_WRONG',
    ],
  ])('is refused %s in words that qubesd cannot take for a passphrase', async (_, spoil, code) => {
    spoil()
    // qubesd strips both ends, then fails on a newline inside; an empty answer it would take.
    const answer = await ask()
    expect(answer).toBe(refusal(code))
    expect(answer.trim()).toContain('\n')
    expect(lastRecord()).toMatchObject({ outcome: 'refused', call: 'stock', code })
  })

  it('is refused for an unknown profile', async () => {
    expect(await ask('weekly')).toBe(refusal('HSM_REFUSED_PROFILE'))
    expect(await ask('')).toBe(refusal('HSM_REFUSED_PROFILE'))
  })
})
