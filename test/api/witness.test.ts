import { describe, expect, test } from 'vitest'
import { Catalogue } from '../../src/api/catalogue/catalogue.ts'
import { sqliteDialect } from '../../src/api/catalogue/sqlite.ts'
import { LedgerWitness } from '../../src/api/witness.ts'
import { toHex, utf8 } from '../../src/base/bytes.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { formatCheckpoint, parseCheckpoint, verifyCosignatureLine } from '../../src/ledger/checkpoint.ts'
import { verifierKey } from '../../src/ledger/note.ts'
import { signCheckpoint } from '../../src/ledger/signing.ts'
import type { LedgerPage } from '../../src/qrexec/calls/ledger.ts'
import { SteppedClock } from '../support/stepped-clock.ts'
import { FakeDom0 } from './fake-dom0.ts'
import { authorized, MemoryLog, startApi } from './harness.ts'
import { dom0Key, entries, ledgerKey, newSigner, origin, pages } from './ledger-pages.ts'

const forever = new AbortController().signal
const witnessKey = newSigner()

async function start() {
  const clock = new SteppedClock('2026-11-24T12:00:00Z')
  const dom0 = new FakeDom0()
  const log = new MemoryLog()
  const catalogue = await Catalogue.open(() => sqliteDialect(':memory:'))
  const witness = { name: 'management.example', signer: witnessKey }
  const ports = { clock, dom0, log, catalogue, ledgerKey, witness }
  return {
    ...ports,
    poll: () => new LedgerWitness(ports).poll(forever),
    state: () => catalogue.witness.get(origin),
  }
}

describe('a ledger that grows', () => {
  test('is remembered, and each new checkpoint is cosigned', async () => {
    const { dom0, poll, state, clock } = await start()
    for (const size of [3, 7, 8, 21]) {
      dom0.ledgerPage = await pages(entries(size))
      await poll()
      await clock.pass(60_000)
    }
    expect(dom0.calls.filter(call => call.startsWith('ledger'))).toEqual([
      'ledger 0',
      'ledger 3',
      'ledger 7',
      'ledger 8',
    ])
    const known = await state()
    expect(known).toMatchObject({ size: 21, alarm: null, seen: new Date('2026-11-24T12:03:00Z') })
    const checkpoint = parseCheckpoint(known?.checkpoint ?? '')
    expect(known?.root).toBe(toHex(checkpoint.root))
    const [last] = dom0.cosigned.slice(-1)
    const key = verifierKey('management.example', 'cosignature/v1', witnessKey.publicKey)
    const line = verifyCosignatureLine(new Untrusted(last?.cosignature ?? ''), checkpoint, [key])
    expect([last?.size, line.time]).toEqual([21, new Date('2026-11-24T12:03:00Z')])
  })

  test('one that stands still is cosigned once by a process', async () => {
    const ports = await start()
    ports.dom0.ledgerPage = await pages(entries(5))
    const witness = new LedgerWitness(ports)
    for (let count = 0; count < 3; count++) await witness.poll(forever)
    expect(ports.dom0.cosigned).toHaveLength(1)
  })

  test('is kept entry by entry, as it was witnessed', async () => {
    const { dom0, poll, catalogue } = await start()
    for (const size of [3, 700, 701]) {
      dom0.ledgerPage = await pages(entries(size))
      await poll()
    }
    const kept = [
      await catalogue.witness.entries(origin, 0, 500),
      await catalogue.witness.entries(origin, 500, 500),
    ]
    expect(kept.flat()).toEqual(entries(701))
    const honest = await pages(entries(703))
    dom0.ledgerPage = from => ({ ...honest(from), entries: [utf8('not what was signed'), utf8('x')] })
    await expect(poll()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' })
    expect(await catalogue.witness.entries(origin, 701, 500)).toEqual([])
    dom0.ledgerPage = honest
    await poll()
    expect(await catalogue.witness.entries(origin, 701, 500)).toEqual(entries(703).slice(701))
  })

  test('is kept a part at a time, so that the next look is never far', async () => {
    const ports = await start()
    const { dom0, catalogue } = ports
    dom0.ledgerPage = await pages(entries(50), { countMax: 2 })
    const kept = async () => (await catalogue.witness.entries(origin, 0, 500)).length
    const witness = new LedgerWitness(ports)
    const sizes: number[] = []
    for (let look = 0; look < 3; look++) {
      await witness.poll(forever)
      sizes.push(await kept())
    }
    // Over a restart, too.
    for (let look = 0; look < 2; look++) await ports.poll()
    expect([...sizes, await kept()]).toEqual([16, 32, 48, 50])
    expect(await catalogue.witness.entries(origin, 0, 500)).toEqual(entries(50))
  })

  test('of a size that nothing could ever lead to, from which dom0 sends on and on, is left after a few pages', async () => {
    const { dom0, poll, catalogue, state } = await start()
    const head = { origin, size: 2 ** 40, root: new Uint8Array(32).fill(1) }
    const checkpoint = formatCheckpoint(await signCheckpoint(head, dom0Key))
    dom0.ledgerPage = () => ({ checkpoint, consistency: [], entries: entries(3) })
    await expect(poll()).rejects.toMatchObject({ code: 'LEDGER_DAMAGED' })
    expect(dom0.calls.filter(call => call.startsWith('ledger')).length).toBeLessThan(10)
    expect(await catalogue.witness.entries(origin, 0, 500)).toEqual([])
    // What it shows then is looked at.
    dom0.ledgerPage = await pages(entries(5))
    await poll()
    expect((await state())?.alarm).toMatchObject({ code: 'LEDGER_BACKWARDS' })
  })

  test('the state is stored before the cosignature leaves', async () => {
    const { dom0, poll, state } = await start()
    dom0.ledgerPage = await pages(entries(5))
    dom0.cosign = async () => {
      expect((await state())?.size).toBe(5)
      throw new Error('the line is dead')
    }
    await expect(poll()).rejects.toThrow('the line is dead')
    expect((await state())?.size).toBe(5)
  })
})

describe('a ledger that does not continue', () => {
  const bad = {
    LEDGER_BACKWARDS: () => pages(entries(9)),
    LEDGER_FORKED: () => pages([...entries(9), ...entries(1, 'other')]),
    'LEDGER_FORKED, longer': () => pages([...entries(9), ...entries(6, 'other')]),
    LEDGER_SIGNATURE: () => pages(entries(11), { signer: newSigner() }),
    LEDGER_ORIGIN: () => pages(entries(11), { signer: newSigner(), name: 'other.example' }),
    LEDGER_NOTE_INVALID: async () => (): LedgerPage => ({
      checkpoint: 'hello',
      consistency: [],
      entries: [],
    }),
  }
  test.each(Object.entries(bad))('%s: an alarm that stays, and no cosignature', async (name, makePage) => {
    const { dom0, poll, state, clock, log } = await start()
    dom0.ledgerPage = await pages(entries(10))
    await poll()
    const before = await state()
    dom0.ledgerPage = await makePage()
    await clock.pass(60_000)
    await poll()
    const alarmed = await state()
    expect(alarmed?.alarm).toMatchObject({ code: name.split(',')[0], time: new Date('2026-11-24T12:01:00Z') })
    expect({ ...alarmed, alarm: null }).toEqual(before)
    expect(dom0.cosigned).toHaveLength(1)
    expect(log.lines.filter(line => line.level === 'error')).toHaveLength(1)

    dom0.ledgerPage = await pages(entries(12))
    await clock.pass(60_000)
    await poll()
    expect(await state()).toMatchObject({ size: 12, alarm: alarmed?.alarm })
  })

  test.each([
    [
      'rolled back',
      () => pages(entries(4)),
      'the first 4 entries are the same; entry 4 is here entry 4, and dom0 shows nothing',
    ],
    [
      'rewritten',
      () => pages([...entries(7), ...entries(9, '\u001b[2J\u202eother')]),
      'the first 7 entries are the same; entry 7 is here entry 7, and dom0 shows ?[2J?other 0',
    ],
  ])('the alarm of one that was %s says where the two part', async (_, makePage, where) => {
    const { dom0, poll, state } = await start()
    // Also over a restart, and when dom0 sends less at once than there is.
    for (const size of [6, 10]) {
      dom0.ledgerPage = await pages(entries(size), { countMax: 4 })
      await poll()
    }
    dom0.ledgerPage = await makePage()
    await poll()
    expect((await state())?.alarm?.message).toContain(where)
  })

  test('/status shows the alarm until it is acknowledged', async () => {
    const ports = await start()
    const { dom0, catalogue } = ports
    const ledger = { origin, verifierKeys: [] }
    await using api = await startApi({ dom0, catalogue, ledger })
    const ask = async (method: 'GET' | 'DELETE', url: string) => {
      const response = await api.app.inject({ method, url, headers: authorized })
      return { status: response.statusCode, body: response.body === '' ? null : response.json() }
    }
    dom0.ledgerPage = await pages(entries(10))
    await ports.poll()
    expect((await ask('GET', '/v1/status')).body).toMatchObject({
      alarms: [],
      ledger: { size: 10, state: 'witnessed' },
    })
    expect((await ask('DELETE', '/v1/ledger/alarm')).status).toBe(404)
    dom0.ledgerPage = await pages(entries(4))
    await ports.poll()
    expect((await ask('GET', '/v1/status')).body).toMatchObject({
      alarms: [{ code: 'LEDGER_BACKWARDS', profile: null }],
      ledger: { size: 10, state: 'alarm' },
    })
    expect((await ask('DELETE', '/v1/ledger/alarm')).status).toBe(204)
    expect((await ask('GET', '/v1/status')).body).toMatchObject({ alarms: [], ledger: { size: 10 } })
  })

  test('the very first look can be an alarm as well', async () => {
    const { dom0, poll, state } = await start()
    dom0.ledgerPage = await pages(entries(3), { signer: newSigner() })
    await poll()
    expect(await state()).toMatchObject({ size: 0, alarm: { code: 'LEDGER_SIGNATURE' } })
    dom0.ledgerPage = await pages(entries(3))
    await poll()
    expect(await state()).toMatchObject({ size: 3, alarm: { code: 'LEDGER_SIGNATURE' } })
  })
})

describe('GET /v1/ledger', () => {
  test('hands on a page as dom0 sends it', async () => {
    const ledger = { origin, verifierKeys: ['key'] }
    await using api = await startApi({ ledger })
    api.dom0.ledgerPage = await pages(entries(10))
    const ask = (url: string) => api.app.inject({ url, headers: authorized })
    const page = (await ask('/v1/ledger?from=7&count=2')).json()
    expect(page).toMatchObject({ size: 10, from: 7, keys: ['key'] })
    expect(page.entries.map((entry: string) => Buffer.from(entry, 'base64').toString())).toEqual([
      'entry 7',
      'entry 8',
    ])
    expect((await ask('/v1/ledger?from=-1')).statusCode).toBe(400)
    expect((await ask('/v1/ledger?to=5')).statusCode).toBe(400)
  })

  test('a checkpoint that is none is dom0’s fault, not the caller’s', async () => {
    await using api = await startApi()
    api.dom0.ledgerPage = () => ({ checkpoint: 'hello', consistency: [], entries: [] })
    const response = await api.app.inject({ url: '/v1/ledger', headers: authorized })
    expect([response.statusCode, response.json().code]).toEqual([503, 'QREXEC_ANSWER_INVALID'])
  })
})
