import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { describe, expect, test } from 'vitest'
import { Catalogue } from '../../src/api/catalogue/catalogue.ts'
import type { ScheduleSetting } from '../../src/api/catalogue/schedule-records.ts'
import { sqliteDialect } from '../../src/api/catalogue/sqlite.ts'
import { Scheduler } from '../../src/api/scheduler.ts'
import { nextStarts } from '../../src/api/timetable.ts'
import { EngineError } from '../../src/engine/errors.ts'
import { keyOfRun } from '../../src/profiles/schedule.ts'
import { QrexecError } from '../../src/qrexec/errors.ts'
import { SteppedClock } from '../support/stepped-clock.ts'
import { FakeDom0, work } from './fake-dom0.ts'
import { eventually, MemoryLog } from './harness.ts'

const nightly: ScheduleSetting = {
  calendar: '*-*-* 02:30:00',
  timeZone: 'Europe/Berlin',
  jitterMinutes: 0,
  catchUp: true,
  enabled: true,
}
const forever = new AbortController().signal

async function start(
  setting: Partial<ScheduleSetting> = {},
  now = '2026-11-24T12:00:00Z',
  file = ':memory:',
) {
  const clock = new SteppedClock(now)
  const dom0 = new FakeDom0()
  const log = new MemoryLog()
  const catalogue = await Catalogue.open(() => sqliteDialect(file))
  const scheduler = new Scheduler({ clock, dom0, log, catalogue })
  const whole = { ...nightly, ...setting }
  await catalogue.schedules.set(work, whole, clock.now(), nextStarts(work, whole, clock.now(), 1)[0] ?? null)
  const orders = () => dom0.calls.filter(call => call.startsWith('backup'))
  const at = async (time: string) => {
    await clock.pass(Date.parse(time) - clock.time)
    await scheduler.tick(forever)
  }
  const schedule = () => catalogue.schedules.get(work)
  return { clock, dom0, log, catalogue, scheduler, orders, at, schedule }
}

describe('what is due is ordered', () => {
  test('once a due time, whatever the number of ticks', async () => {
    const { orders, at, schedule } = await start()
    await at('2026-11-25T01:29:59Z')
    expect(orders()).toEqual([])
    await at('2026-11-25T01:30:00Z')
    await at('2026-11-25T01:30:20Z')
    await at('2026-11-25T20:00:00Z')
    expect(orders()).toEqual([`backup work ${keyOfRun(work, new Date('2026-11-25T01:30:00Z'))}`])
    await at('2026-11-26T01:30:05Z')
    expect(orders()).toHaveLength(2)
    expect(await schedule()).toMatchObject({
      lastRun: new Date('2026-11-26T01:30:00Z'),
      nextRun: new Date('2026-11-27T01:30:00Z'),
      lastJob: '20261124T031500Z-00000002',
      failure: null,
    })
  })

  test('a whole year in Berlin: every local day once, also when the clocks change', async () => {
    const { orders, clock, scheduler } = await start({}, '2026-01-01T12:00:00Z')
    for (let hour = 0; hour < 365 * 24; hour++) {
      await clock.pass(3_600_000)
      await scheduler.tick(forever)
    }
    expect(orders()).toHaveLength(365)
    expect(new Set(orders()).size).toBe(365)
  })

  test('jitter shifts the start and not the name of the run', async () => {
    const { orders, at, schedule } = await start({ jitterMinutes: 60 })
    const first = (await schedule())?.nextRun ?? new Date(0)
    const due = new Date('2026-11-25T01:30:00Z')
    expect(first.getTime()).toBeGreaterThan(due.getTime())
    expect(first.getTime()).toBeLessThan(due.getTime() + 3_600_000)
    await at(new Date(first.getTime() - 1).toISOString())
    expect(orders()).toEqual([])
    await at(first.toISOString())
    expect(orders()).toEqual([`backup work ${keyOfRun(work, due)}`])
  })

  test('a disabled schedule orders nothing', async () => {
    const { orders, at } = await start({ enabled: false })
    await at('2026-12-24T12:00:00Z')
    expect(orders()).toEqual([])
  })

  test('a new schedule makes up for nothing that was before it', async () => {
    const { orders, at } = await start({}, '2026-11-25T01:31:00Z')
    await at('2026-11-25T01:31:20Z')
    expect(orders()).toEqual([])
  })
})

describe('after an outage', () => {
  test('one run is made up for, not one for each day', async () => {
    const { orders, at, schedule } = await start()
    await at('2026-12-24T12:00:00Z')
    await at('2026-12-24T12:00:20Z')
    expect(orders()).toEqual([`backup work ${keyOfRun(work, new Date('2026-12-24T01:30:00Z'))}`])
    expect((await schedule())?.nextRun).toEqual(new Date('2026-12-25T01:30:00Z'))
  })

  test('without catch-up nothing is, and the next due time is kept', async () => {
    const { orders, at, schedule, log } = await start({ catchUp: false })
    await at('2026-12-24T12:00:00Z')
    expect(orders()).toEqual([])
    expect(log.lines.map(line => line.level)).toEqual(['warn'])
    expect((await schedule())?.nextRun).toEqual(new Date('2026-12-25T01:30:00Z'))
    await at('2026-12-25T01:30:10Z')
    expect(orders()).toHaveLength(1)
  })
})

describe('never twice', () => {
  test('a crash after the order and before the note gives the same key, and so the same job', async () => {
    const { dom0, catalogue, clock, log, at, orders } = await start()
    const lost = new Error('power failure')
    const records = catalogue.schedules
    const advance = records.advance.bind(records)
    records.advance = async () => {
      throw lost
    }
    await expect(at('2026-11-25T01:30:00Z')).rejects.toBe(lost)
    records.advance = advance
    await new Scheduler({ dom0, catalogue, clock, log }).tick(forever)
    expect(orders()).toHaveLength(2)
    expect(new Set(orders()).size).toBe(1)
    expect(dom0.board.size).toBe(1)
  })

  test('two schedulers on one catalogue, at the same moment', async () => {
    const { dom0, catalogue, clock, log, scheduler } = await start()
    const second = new Scheduler({ dom0, catalogue, clock, log })
    clock.time = Date.parse('2026-11-25T01:30:00Z')
    await Promise.all([scheduler.tick(forever), second.tick(forever)])
    expect(dom0.board.size).toBe(1)
  })

  test('what was set survives a restart', async () => {
    const directory = await mkdtemp(path.join(os.tmpdir(), 'strongroom-catalogue-'))
    try {
      const file = path.join(directory, 'catalogue.sqlite')
      const first = await start({}, '2026-11-24T12:00:00Z', file)
      await first.at('2026-11-25T01:30:00Z')
      await first.catalogue[Symbol.asyncDispose]()
      await using catalogue = await Catalogue.open(() => sqliteDialect(file))
      const clock = new SteppedClock('2026-11-25T01:31:00Z')
      await new Scheduler({ dom0: first.dom0, catalogue, clock, log: first.log }).tick(forever)
      expect(first.orders()).toHaveLength(1)
    } finally {
      await rm(directory, { recursive: true })
    }
  })

  test('a schedule that was replaced during an order is not overwritten by its end', async () => {
    const { dom0, catalogue, at, schedule } = await start()
    const backup = dom0.backup.bind(dom0)
    dom0.backup = async (profile, key) => {
      const other = { ...nightly, calendar: 'weekly' }
      await catalogue.schedules.set(work, other, new Date('2026-11-25T01:30:01Z'), null)
      return backup(profile, key)
    }
    await at('2026-11-25T01:30:00Z')
    expect(await schedule()).toMatchObject({ calendar: 'weekly', lastJob: null, nextRun: null })
  })
})

describe('failures', () => {
  test('a refusal is recorded and left until the next due time; success clears it', async () => {
    const { dom0, orders, at, schedule } = await start()
    dom0.failure = new EngineError('ORDER_LIMIT', 'two orders a day')
    await at('2026-11-25T01:30:00Z')
    await at('2026-11-25T09:00:00Z')
    expect(orders()).toHaveLength(1)
    expect((await schedule())?.failure).toEqual({
      code: 'ORDER_LIMIT',
      message: 'two orders a day',
      time: new Date('2026-11-25T01:30:00Z'),
    })
    dom0.failure = null
    await at('2026-11-26T01:30:00Z')
    expect(orders()).toHaveLength(2)
    expect((await schedule())?.failure).toBeNull()
  })

  test('an order that did not reach dom0 is tried again with its key, five minutes later', async () => {
    const { dom0, orders, at, schedule } = await start()
    dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is down')
    await at('2026-11-25T01:30:00Z')
    await at('2026-11-25T01:34:59Z')
    expect(orders()).toHaveLength(1)
    expect((await schedule())?.failure?.code).toBe('QREXEC_UNREACHABLE')
    dom0.failure = null
    await at('2026-11-25T01:35:00Z')
    expect(orders()).toHaveLength(2)
    expect(new Set(orders()).size).toBe(1)
    expect(await schedule()).toMatchObject({ failure: null, nextRun: new Date('2026-11-26T01:30:00Z') })
  })

  test('the next due time takes the place of one that never reached dom0', async () => {
    const { dom0, orders, at } = await start()
    dom0.failure = new QrexecError('QREXEC_TIMEOUT', 'dom0 is slow')
    await at('2026-11-25T01:30:00Z')
    dom0.failure = null
    await at('2026-11-26T01:30:00Z')
    await at('2026-11-26T01:30:20Z')
    expect(orders().at(-1)).toBe(`backup work ${keyOfRun(work, new Date('2026-11-26T01:30:00Z'))}`)
    expect(orders()).toHaveLength(2)
  })

  test('an order cut off by the end of the service stays due', async () => {
    const { dom0, clock, scheduler, schedule } = await start()
    const stop = new AbortController()
    dom0.backup = async () => {
      stop.abort(new Error('stopping'))
      throw stop.signal.reason
    }
    clock.time = Date.parse('2026-11-25T01:30:00Z')
    await expect(scheduler.tick(stop.signal)).rejects.toThrow('stopping')
    expect(await schedule()).toMatchObject({ failure: null, nextRun: new Date('2026-11-25T01:30:00Z') })
  })

  test('run goes on after failures, and stops when asked', async () => {
    const { dom0, clock, scheduler, orders } = await start()
    const stop = new AbortController()
    dom0.failure = new QrexecError('QREXEC_UNREACHABLE', 'dom0 is down')
    const running = scheduler.run(stop.signal)
    await eventually(() => dom0.calls.includes('jobs'))
    dom0.failure = null
    await new Promise(resolve => setTimeout(resolve, 20))
    clock.time = Date.parse('2026-11-25T01:30:00Z')
    await clock.pass(20_000)
    await eventually(() => orders().length === 1)
    stop.abort()
    await running
  })
})
