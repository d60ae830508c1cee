import { describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { dom0, parseIdempotencyKey } from '../../src/base/names.ts'
import { EngineError } from '../../src/engine/errors.ts'
import { SealedSchedules } from '../../src/engine/sealed-schedules.ts'
import { mgmt, testBench, testProfile } from '../support/engine.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

/** A dom0 whose sealed configuration came into force at noon on 24 November. */
async function start(strongroom: string) {
  const clock = new SteppedClock('2026-11-24T12:00:00Z')
  const environment = { clock, entropy: systemEntropy }
  const one = await testBench({ profileText: `${testProfile}strongroom:\n${strongroom}`, environment })
  const { version, digest } = await one.ports.configuration.current()
  await one.ledger.append([{ type: 'configuration', time: clock.now(), version, digest }])
  let schedules = new SealedSchedules(one.ports, one.orders)
  const orders = () =>
    one.ledger.orders(one.profile).map(({ time, initiator }) => `${initiator} ${time.toISOString()}`)
  const at = async (time: string) => {
    clock.time = Date.parse(time)
    await schedules.tick()
    for (const { id } of one.orders.board.list()) await one.orders.ended(id)
  }
  const restart = async () => {
    schedules = new SealedSchedules(one.ports, await one.restart())
  }
  return { one, clock, at, orders, restart }
}

const nightly = '  schedule: { calendar: "02:30" }\n'

describe('a sealed schedule', () => {
  it('is ordered by dom0 itself, once a due time, also after a restart', async () => {
    const { at, orders, restart } = await start(nightly)
    await at('2026-11-25T02:29:59Z')
    expect(orders()).toEqual([])
    await at('2026-11-25T02:30:00Z')
    await at('2026-11-25T02:30:20Z')
    await restart()
    await at('2026-11-25T02:30:40Z')
    expect(orders()).toEqual(['dom0 2026-11-25T02:30:00.000Z'])
    await at('2026-11-26T02:30:10Z')
    expect(orders()).toEqual(['dom0 2026-11-25T02:30:00.000Z', 'dom0 2026-11-26T02:30:10.000Z'])
  })

  it('makes up for one run however many were missed, and for none that nobody wants made up', async () => {
    const missed = await start(nightly)
    await missed.at('2026-11-28T09:00:00Z')
    await missed.at('2026-11-28T09:01:00Z')
    expect(missed.orders()).toEqual(['dom0 2026-11-28T09:00:00.000Z'])
    const strict = await start('  schedule: { calendar: "02:30", catch_up: no }\n')
    await strict.at('2026-11-28T09:00:00Z')
    expect(strict.orders()).toEqual([])
    await strict.at('2026-11-29T02:31:00Z')
    expect(strict.orders()).toEqual(['dom0 2026-11-29T02:31:00.000Z'])
  })

  it('goes on when the clock was ahead for a moment', async () => {
    const { at, orders } = await start(nightly)
    await at('2026-11-25T02:30:05Z')
    await at('2027-11-25T02:30:05Z')
    await at('2026-11-26T02:30:05Z')
    await at('2026-11-26T02:30:25Z')
    expect(orders().slice(2)).toEqual(['dom0 2026-11-26T02:30:05.000Z'])
  })

  it('is not run for what was due before it was sealed', async () => {
    const { at, orders } = await start(nightly)
    await at('2026-11-24T12:00:10Z')
    expect(orders()).toEqual([])
  })

  it('that is refused is recorded once, and left until the next due time', async () => {
    const { one, clock, at, orders } = await start(`${nightly}  limits: { orders_per_day: 1 }\n`)
    clock.time = Date.parse('2026-11-25T02:00:00Z')
    const key = parseIdempotencyKey('by-the-management-vm')
    const order = { kind: 'backup', profile: one.profile, initiator: mgmt, key, ifRunning: 'refuse' } as const
    await one.orders.ended((await one.orders.order(order)).id)
    const before = one.ledger.size
    await at('2026-11-25T02:30:00Z')
    await at('2026-11-25T02:30:20Z')
    expect(one.ledger.size).toBe(before + 1)
    expect(orders()).toEqual(['mgmt 2026-11-25T02:00:00.000Z'])
    await at('2026-11-26T02:30:00Z')
    expect(orders().at(-1)).toBe(`${dom0} 2026-11-26T02:30:00.000Z`)
  })

  it('that cannot be taken yet is tried again', async () => {
    const { one, at, orders } = await start(nightly)
    const { current } = one.ports.configuration
    let looks = 0
    Object.assign(one.ports.configuration, {
      // The look that finds the run succeeds; the one that judges the order is at a bad moment.
      current: () =>
        ++looks === 2 ? Promise.reject(new EngineError('ORDERS_BUSY', 'for the moment')) : current(),
    })
    await at('2026-11-25T02:30:00Z')
    expect(orders()).toEqual([])
    await at('2026-11-25T02:30:20Z')
    expect(orders()).toEqual(['dom0 2026-11-25T02:30:20.000Z'])
  })
})

it('a profile without a schedule is never ordered', async () => {
  const { at, orders } = await start('  max_age_days: 3\n')
  await at('2027-11-25T02:30:00Z')
  expect(orders()).toEqual([])
})
