import { randomBytes } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import {
  dom0,
  type JobId,
  type ProfileName,
  parseProfileName,
  parseVmName,
  type VmName,
} from '../../src/base/names.ts'
import { EngineError } from '../../src/engine/errors.ts'
import type { Order } from '../../src/engine/order.ts'
import type { EnginePorts } from '../../src/engine/ports.ts'
import type { Power } from '../../src/host/power.ts'
import type { PassphraseService } from '../../src/hsm/passphrase-service.ts'
import { budgetDefault } from '../../src/profiles/budget.ts'
import { ThreadBudget } from '../../src/repository/thread-budget.ts'
import { type EngineBench, mgmt, orderOf, seal, testBench, testProfile } from '../support/engine.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const KiB = 1024
const minute = 60_000
const hour = 60 * minute

/** A dom0 whose sealed profile has this budget, on a machine that is plugged in and out by the test. */
async function start(budget: string, ports: Partial<EnginePorts> = {}) {
  const clock = new SteppedClock()
  const machine: { power: Power } = { power: 'mains' }
  const one = await testBench({
    profileText: `${testProfile}strongroom: { budget: { ${budget} } }\n`,
    environment: { clock, entropy: systemEntropy },
    ports: { ...ports, power: { now: async () => machine.power } },
  })
  const order = async (more: Partial<Order> = {}): Promise<JobId> =>
    (await one.orders.order(orderOf(one, { ifRunning: 'join', ...more }))).id
  const seen = (id: JobId) => {
    const { state, started, progress } = one.orders.board.get(id)
    return { state, phase: progress.phase, isStarted: started !== null }
  }
  return { one, clock, machine, order, seen, untilHeld: () => until(() => clock.sleeping > 0) }
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise(resolve => setImmediate(resolve))
}

const waiting = (phase: string) => ({ state: 'waiting', phase, isStarted: false })

describe('a backup on battery', () => {
  it('waits, says so, needs no passphrase meanwhile, and goes on by itself', async () => {
    const { one, clock, machine, order, seen, untilHeld } = await start('on_battery: wait')
    machine.power = 'battery'
    const id = await order()
    await untilHeld()
    expect(seen(id)).toEqual(waiting('battery'))
    await clock.pass(3 * hour)
    expect(seen(id)).toEqual(waiting('battery'))
    expect(one.released).toEqual([])
    machine.power = 'mains'
    await clock.pass(20_000)
    expect((await one.orders.ended(id)).state).toBe('done')
  })

  it('runs after the hours that the profile gives it, or fails, as that says', async () => {
    for (const [after, code] of [
      ['run', undefined],
      ['fail', 'BACKUP_HELD_BACK'],
    ]) {
      const budget = `on_battery: wait, wait_hours_max: 2, after_wait: ${after}`
      const { one, clock, machine, order, seen, untilHeld } = await start(budget)
      machine.power = 'battery'
      const id = await order()
      await untilHeld()
      await clock.pass(2 * hour - minute)
      expect(seen(id)).toEqual(waiting('battery'))
      await clock.pass(2 * minute)
      expect((await one.orders.ended(id)).error?.code).toBe(code)
    }
  })

  it.each([
    ['ahead', 1000],
    ['back', -1000],
  ])('waits neither less nor more when the clock is set %s', async (_, hours) => {
    const { one, clock, machine, order, seen, untilHeld } = await start('on_battery: wait, wait_hours_max: 2')
    machine.power = 'battery'
    const id = await order()
    await untilHeld()
    clock.time += hours * hour
    await clock.pass(2 * hour - minute)
    expect([seen(id), clock.sleeping]).toEqual([waiting('battery'), 1])
    await clock.pass(2 * minute)
    await until(() => seen(id).phase !== 'battery')
    expect((await one.orders.ended(id)).state).toBe('done')
  })

  it('is cancelled while it waits', async () => {
    const { one, machine, order, untilHeld } = await start('on_battery: wait')
    machine.power = 'battery'
    const id = await order()
    await untilHeld()
    one.orders.cancel(id)
    expect((await one.orders.ended(id)).state).toBe('cancelled')
    expect(one.released).toEqual([])
  })

  it.each(['on_battery: run', 'on_battery: slow', 'priority: normal'])(
    'with %s does not wait',
    async budget => {
      const { one, machine, order } = await start(budget)
      machine.power = 'battery'
      expect((await one.orders.ended(await order())).state).toBe('done')
    },
  )

  it('goes on when the machine is unplugged after it has begun', async () => {
    const { one, machine, order } = await start('on_battery: wait')
    const id = await order()
    await until(() => one.released.length === 1)
    machine.power = 'battery'
    expect((await one.orders.ended(id)).state).toBe('done')
  })
})

describe('a backup over a network that is said to be metered', () => {
  it('waits no longer than the profile says, whoever says so', async () => {
    const { one, clock, order, seen, untilHeld } = await start('on_metered: wait, wait_hours_max: 1')
    const id = await order({ metered: true })
    await untilHeld()
    expect(seen(id)).toEqual(waiting('metered'))
    await clock.pass(hour - minute)
    // Saying it again does not begin the hour anew.
    expect(await order({ metered: true })).toBe(id)
    await clock.pass(2 * minute)
    expect((await one.orders.ended(id)).state).toBe('done')
  })

  it('goes on when an order joins it that does not say so', async () => {
    const { one, clock, order, untilHeld } = await start('on_metered: wait')
    const id = await order({ metered: true })
    await untilHeld()
    expect(await order()).toBe(id)
    await clock.pass(20_000)
    expect((await one.orders.ended(id)).state).toBe('done')
  })

  it('sends less, or is as any other, as the profile says', async () => {
    for (const [budget, limit] of [
      ['on_metered: limit, metered_kib_per_second: 64', 64 * KiB],
      ['on_metered: limit, metered_kib_per_second: 64, upload_kib_per_second: 32', 32 * KiB],
      ['on_metered: run', undefined],
    ] as const) {
      const { one, order } = await start(budget)
      const { state, progress } = await one.orders.ended(await order({ metered: true }))
      expect([state, progress.uploadBytesPerSecond]).toEqual(['done', limit])
      const usual = await one.orders.ended(await order())
      expect(usual.progress.uploadBytesPerSecond).toBe(budget.includes('upload_') ? 32 * KiB : undefined)
    }
  })

  it('is no matter where the profile does not say so', async () => {
    const { one, order } = await start('priority: low')
    expect((await one.orders.ended(await order({ metered: true }))).state).toBe('done')
  })
})

describe('a backup that waits', () => {
  it('keeps no other job from running, and waits for room when it may begin', async () => {
    const { one, clock, machine, order, seen, untilHeld } = await start('on_battery: wait')
    const letGo = holdReleases(one)
    const others = await addProfiles(one, 5)
    machine.power = 'battery'
    const id = await order()
    await untilHeld()
    const running = []
    for (const profile of others.slice(0, 4)) running.push(await order({ profile }))
    await expect(order({ profile: others[4] as typeof one.profile })).rejects.toMatchObject({
      code: 'ORDERS_BUSY',
    })
    machine.power = 'mains'
    await clock.pass(20_000)
    expect(seen(id)).toEqual(waiting('queued'))
    letGo()
    for (const other of running) await one.orders.ended(other)
    await clock.pass(20_000)
    expect((await one.orders.ended(id)).started).not.toBeNull()
  })

  it('begins in the room of another who has ordered it too', async () => {
    const { one, clock, machine, order, seen, untilHeld } = await start('on_battery: wait')
    holdReleases(one)
    machine.power = 'battery'
    const id = await order()
    await untilHeld()
    for (const profile of await addProfiles(one, 4)) await order({ profile })
    machine.power = 'mains'
    await clock.pass(20_000)
    expect(seen(id)).toEqual(waiting('queued'))
    expect(await order({ initiator: dom0 })).toBe(id)
    await order()
    await clock.pass(20_000)
    await until(() => seen(id).isStarted)
  })

  it('is understood as it is sealed when it begins', async () => {
    const { one, clock, machine, order, untilHeld } = await start('on_battery: wait')
    machine.power = 'battery'
    const id = await order()
    await untilHeld()
    await seal(one, profile => ({
      profile: {
        ...profile,
        budget: { ...profile.budget, onBattery: 'run', uploadBytesPerSecond: 77 * KiB },
      },
    }))
    await clock.pass(20_000)
    const { state, progress } = await one.orders.ended(id)
    expect([state, progress.uploadBytesPerSecond]).toEqual(['done', 77 * KiB])
  })
})

describe('jobs at once', () => {
  it('are so few of one VM that others have room, and of all VMs that dom0 has', async () => {
    const { one, order } = await start('priority: low')
    holdReleases(one)
    const profiles = (await addProfiles(one, 11)).values()
    const taken = async (initiator: VmName) => {
      const profile = profiles.next().value
      if (profile === undefined) throw new Error('more profiles are needed')
      return await order({ profile, initiator }).then(
        () => 'runs',
        error => (error instanceof EngineError ? error.code : error),
      )
    }
    const series = async (initiator: VmName, count: number) => {
      const answers = []
      while (answers.length < count) answers.push(await taken(initiator))
      return answers
    }
    const busy = 'ORDERS_BUSY'
    expect(await series(mgmt, 5)).toEqual(['runs', 'runs', 'runs', 'runs', busy])
    expect(await series(parseVmName('mgmt-2'), 3)).toEqual(['runs', 'runs', busy])
    expect(await series(dom0, 3)).toEqual(['runs', 'runs', busy])
  })
})

describe('a backup that is slow on battery', () => {
  it.each([
    ['battery', 1],
    ['mains', 2],
  ] as const)('works, on %s, on so many threads: %i', async (power, expected) => {
    const threads = new ThreadBudget(2)
    const { one, machine, order } = await start('on_battery: slow', { threads })
    await writeFile(path.join(one.machine, 'work/private.img'), randomBytes(64 * 1024 * KiB))
    machine.power = power
    let workingMost = 0
    one.storage.faults.before = async () => {
      workingMost = Math.max(workingMost, threads.working)
    }
    expect((await one.orders.ended(await order())).state).toBe('done')
    expect(workingMost).toBe(expected)
  })
})

/** No passphrase is released until all are refused. */
function holdReleases(one: EngineBench): () => void {
  const { promise, resolve } = Promise.withResolvers<void>()
  const release: PassphraseService['release'] = async (_request, _entry, signal) => {
    signal.addEventListener('abort', () => resolve(), { once: true })
    await promise
    throw new Error('enough')
  }
  Object.assign(one.ports, { passphrases: () => ({ release }) })
  return resolve
}

/** Others like it, but for the battery. */
async function addProfiles(one: EngineBench, count: number): Promise<readonly ProfileName[]> {
  const names = Array.from({ length: count }, (_, index) => parseProfileName(`other-${index}`))
  for (const name of names)
    await seal(one, profile => ({ profile: { ...profile, name, budget: budgetDefault } }))
  return names
}
