import { spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { dom0, parseDigest, parseProfileName } from '../../src/base/names.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { type Decision, reasonLengthMax, refusalsPerDayMax } from '../../src/hsm/decisions.ts'
import { EnvelopeStore } from '../../src/hsm/envelope-store.ts'
import { HsmStore } from '../../src/hsm/store.ts'
import { history } from '../../src/main/hsm-commands.ts'
import { codeOf } from './support.ts'

const profile = parseProfileName('nightly')
const time = new Date('2026-11-24T03:15:00Z')
const digestOf = (number: number) => parseDigest(number.toString(16).padStart(64, '0'))

function allowed(index: number): Decision {
  return {
    time,
    outcome: 'allowed',
    call: 'release',
    caller: dom0,
    profile,
    job: null,
    purpose: 'backup',
    epoch: 1,
    index,
    nonce: digestOf(index),
    code: null,
    reason: undefined,
    witness: undefined,
  }
}
const refused: Decision = {
  ...allowed(0),
  outcome: 'refused',
  index: null,
  nonce: null,
  code: 'HSM_REFUSED_LIMIT',
  reason: '3 releases within 24 hours',
}

let directory: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'strongroom-hsm-store-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

const records = () => path.join(directory, 'releases.jsonl')
const seen = (size: number) => ({ origin: 'example/dom0', size, root: new Uint8Array(32).fill(size) })

const of = (epoch: number, revision = 1) => ({ profile, epoch, revision })

describe('envelopes', () => {
  it('are in place whole or not at all, and nothing is left beside them', async () => {
    const store = new EnvelopeStore(directory)
    await store.put(of(1), utf8('one'))
    expect(await codeOf(() => store.put(of(1), utf8('other')))).toBe('HSM_ENVELOPE_EXISTS')
    expect(readdirSync(path.join(directory, 'envelopes'))).toEqual(['nightly.e1.age'])
    expect(readFileSync(store.pathOf(of(1)), 'utf8')).toBe('one')
    // What a command that was killed has left is no envelope.
    writeFileSync(`${store.pathOf(of(2))}.0123456789abcdef.new`, 'tor')
    expect(await store.list()).toEqual([of(1)])
    expect(await store.lastEpoch(profile)).toBe(1)
  })

  it('are kept by profile and epoch, each once', async () => {
    const store = new EnvelopeStore(directory)
    const digest = await store.put(of(1), utf8('one'))
    expect(digest).toBe(sha256Hex(utf8('one')))
    await store.put(of(12), utf8('twelve'))
    const second = await store.put(of(1, 2), utf8('one again'))
    await store.put(of(1, 11), utf8('and again'))
    await store.put({ profile: parseProfileName('a.e1'), epoch: 2, revision: 1 }, utf8('other'))
    expect(await store.list()).toEqual([
      { profile: 'a.e1', epoch: 2, revision: 1 },
      of(1),
      of(1, 2),
      of(1, 11),
      of(12),
    ])
    expect(await codeOf(() => store.put(of(1), utf8('two')))).toBe('HSM_ENVELOPE_EXISTS')
    const bytes = await store.sealed(profile, 1, digest)
    expect(bytes.parse(String)).toBe(String(utf8('one')))
    expect((await store.sealed(profile, 1, second)).parse(String)).toBe(String(utf8('one again')))
    expect(statSync(path.join(directory, 'envelopes/nightly.e1.r2.age')).isFile()).toBe(true)
    expect(statSync(path.join(directory, 'envelopes/nightly.e1.age')).mode & 0o777).toBe(0o600)
  })

  it('that are missing, or not the sealed ones, have a code each', async () => {
    const store = new EnvelopeStore(directory)
    expect(await codeOf(() => store.get(of(1)))).toBe('HSM_ENVELOPE_MISSING')
    const digest = await store.put(of(1), utf8('one'))
    writeFileSync(path.join(directory, 'envelopes/nightly.e1.age'), 'another')
    expect(await codeOf(() => store.sealed(profile, 1, digest))).toBe('HSM_ENVELOPE_MISMATCH')
    writeFileSync(path.join(directory, 'envelopes/nightly.e1.age'), new Uint8Array(20_000))
    expect(await codeOf(() => store.sealed(profile, 1, digest))).toBe('HSM_ENVELOPE_INVALID')
  })

  it('of one epoch that are made at once are one', async () => {
    const store = new EnvelopeStore(directory)
    const made = await Promise.allSettled(['one', 'two'].map(text => store.put(of(1), utf8(text))))
    expect(made.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
    const kept = made.find(one => one.status === 'fulfilled')
    expect((await store.get(of(1))).parse(sha256Hex)).toBe(kept?.value)
  })

  it('are listed and made beside the service, whose record they leave alone', async () => {
    await using store = await HsmStore.open(directory)
    await store.saveWitness(seen(99))
    await store.decisions.append(allowed(3))
    const before = statSync(records(), { bigint: true })
    const beside = new EnvelopeStore(directory)
    await beside.put(of(1), utf8('one'))
    expect(await beside.list()).toEqual([of(1)])
    const after = statSync(records(), { bigint: true })
    expect([after.size, after.mtimeNs, after.ctimeNs]).toEqual([before.size, before.mtimeNs, before.ctimeNs])
  })
})

describe('the directory of the HSM VM', () => {
  it('has one service, until that is closed', async () => {
    const first = await HsmStore.open(directory)
    expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_BUSY')
    await first[Symbol.asyncDispose]()
    await using again = await HsmStore.open(directory)
    expect(again.witness).toBeNull()
  })

  it('is free again after a service was killed', async () => {
    const program = `import { HsmStore } from ${JSON.stringify(path.resolve('src/hsm/store.ts'))}
      await HsmStore.open(${JSON.stringify(directory)})
      console.log('open')
      setInterval(() => {}, 1000)`
    const service = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await once(service.stdout, 'data')
    expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_BUSY')
    service.kill('SIGKILL')
    await once(service, 'exit')
    await using store = await HsmStore.open(directory)
    expect(store.witness).toBeNull()
  })
})

describe('the memory of the witness', () => {
  it('outlives the process', async () => {
    {
      await using store = await HsmStore.open(directory)
      expect(store.witness).toBeNull()
      await store.saveWitness(seen(5))
    }
    await using store = await HsmStore.open(directory)
    expect(store.witness).toEqual(seen(5))
  })

  it('is kept with a release in one write, of which a crash leaves all or nothing', async () => {
    const file = path.join(directory, 'witness.json')
    {
      await using store = await HsmStore.open(directory)
      await store.saveWitness(seen(5))
      await store.record({ ...allowed(8), witness: seen(9) })
      expect(store.witness).toEqual(seen(9))
    }
    const whole = readFileSync(records())
    for (const length of [whole.byteLength, whole.byteLength - 1, whole.byteLength / 2, 1]) {
      writeFileSync(records(), whole.subarray(0, length))
      await using store = await HsmStore.open(directory)
      const isWhole = length === whole.byteLength
      expect([store.witness, store.decisions.indexMax]).toEqual(isWhole ? [seen(9), 8] : [seen(5), -1])
    }
    writeFileSync(records(), whole)
    rmSync(file)
    {
      await using store = await HsmStore.open(directory)
      expect(store.witness).toEqual(seen(9))
      await store.saveWitness(seen(11))
    }
    {
      await using store = await HsmStore.open(directory)
      expect(store.witness).toEqual(seen(11))
    }
    const other = { ...seen(9), root: '0'.repeat(64) }
    for (const witness of [other, { ...other, size: 12, origin: 'example/other' }]) {
      writeFileSync(file, JSON.stringify(witness))
      expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_DAMAGED')
    }
  })

  it('takes no checkpoint that was compared with an older one, however late it is written', async () => {
    await using store = await HsmStore.open(directory)
    await store.saveWitness(seen(5))
    const late = store.saveWitness(seen(20))
    const overtaken = codeOf(() => store.record({ ...allowed(8), witness: seen(10) }))
    const again = codeOf(() => store.saveWitness(seen(9)))
    await late
    expect([await overtaken, await again]).toEqual(['HSM_BUSY', 'HSM_BUSY'])
    expect([store.witness, store.decisions.indexMax]).toEqual([seen(20), -1])
    await store.record({ ...allowed(22), witness: seen(23) })
    expect(store.witness).toEqual(seen(23))
  })

  it('may not be lost, damaged, or put back', async () => {
    const file = path.join(directory, 'witness.json')
    {
      await using store = await HsmStore.open(directory)
      await store.saveWitness(seen(5))
    }
    const old = readFileSync(file)
    {
      await using store = await HsmStore.open(directory)
      await store.saveWitness(seen(9))
      await store.decisions.append(allowed(8))
    }
    writeFileSync(file, old)
    expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_DAMAGED')
    rmSync(file)
    expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_DAMAGED')
    writeFileSync(file, '{"origin":"x"')
    expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_DAMAGED')
  })
})

describe('the record of decisions', () => {
  async function withRecord(...decisions: readonly Decision[]): Promise<void> {
    await using store = await HsmStore.open(directory)
    await store.saveWitness(seen(99))
    for (const one of decisions) await store.decisions.append(one)
  }

  it('remembers nonces and times of releases, not of refusals', async () => {
    await withRecord(allowed(3), refused, allowed(4))
    await using store = await HsmStore.open(directory)
    expect(store.decisions.seenNonces).toEqual(new Set([digestOf(3), digestOf(4)]))
    expect(store.decisions.releases(profile)).toEqual([time, time])
    expect(store.decisions.indexMax).toBe(4)
    expect(readFileSync(records(), 'utf8').trim().split('\n')).toHaveLength(3)
  })

  it('is shown while the service writes it, as far as its lines are whole', async () => {
    await using store = await HsmStore.open(directory)
    await store.saveWitness(seen(99))
    await store.decisions.append(allowed(3))
    await store.decisions.append(refused)
    appendFileSync(records(), '{"time":')
    const shown = await history(directory, undefined)
    expect(shown.text).toEqual([
      '2026-11-24T03:15:00.000Z  allowed   backup of nightly, epoch 1, by dom0',
      '2026-11-24T03:15:00.000Z  refused   backup of nightly, epoch 1, by dom0: HSM_REFUSED_LIMIT, 3 releases within 24 hours',
    ])
    expect((await history(directory, 'other')).text).toEqual(['nothing was asked for yet'])
    expect((await history(path.join(directory, 'nowhere'), undefined)).result).toEqual([])
  })

  it('has room for the longest reason in any writing', async () => {
    const long = { ...refused, reason: '\u{10ffff}'.repeat(reasonLengthMax / 2) }
    await withRecord(allowed(3), long)
    await using store = await HsmStore.open(directory)
    expect(store.decisions.releases(profile)).toEqual([time])
  })

  it('drops a last line that a crash has torn, and goes on', async () => {
    await withRecord(allowed(3))
    const whole = readFileSync(records(), 'utf8')
    for (const torn of ['{', whole.slice(0, -1)]) {
      appendFileSync(records(), torn)
      await withRecord()
      expect(readFileSync(records(), 'utf8')).toBe(whole)
    }
    await withRecord(allowed(4))
    expect(readFileSync(records(), 'utf8').split('\n')).toHaveLength(3)
  })

  it.each(['\n', 'x\n', '{}\n', '{"time":1}\n', `${'x'.repeat(5000)}`, '{"a":1,"a":2}\n'])(
    'with the line %j is refused',
    async line => {
      await withRecord(allowed(3))
      appendFileSync(records(), `${line}`)
      expect(await codeOf(() => HsmStore.open(directory))).toBe('HSM_STORE_DAMAGED')
    },
  )

  it('keeps one after another what is decided at the same moment', async () => {
    {
      await using store = await HsmStore.open(directory)
      await store.saveWitness(seen(99))
      await Promise.all([allowed(1), refused, allowed(2)].map(one => store.decisions.append(one)))
    }
    const lines = readFileSync(records(), 'utf8').trim().split('\n')
    expect(lines.map(line => (JSON.parse(line) as { index: number | null }).index)).toEqual([1, null, 2])
    await using again = await HsmStore.open(directory)
    expect([...again.decisions.seenNonces]).toEqual([digestOf(1), digestOf(2)])
  })

  it('is not filled by a flood of refusals, and takes decisions all the same', async () => {
    await withRecord(...Array<Decision>(refusalsPerDayMax + 5).fill(refused), allowed(7))
    expect(readFileSync(records(), 'utf8').trim().split('\n')).toHaveLength(refusalsPerDayMax + 1)
    await withRecord({ ...refused, time: new Date(time.getTime() + 25 * 60 * 60 * 1000) })
    expect(readFileSync(records(), 'utf8').trim().split('\n')).toHaveLength(refusalsPerDayMax + 2)
  })

  it('that cannot be written lets nothing go on', async () => {
    const store = await HsmStore.open(directory)
    await store[Symbol.asyncDispose]()
    expect(await codeOf(() => store.decisions.append(allowed(1)))).toBe('HSM_STORE_WRITE')
    expect(store.decisions.releases(profile)).toEqual([])
  })
})
