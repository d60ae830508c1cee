import { readFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect } from 'vitest'
import { parseJobId, parseVmName } from '../../src/base/names.ts'
import { approvalCode } from '../../src/hsm/approvals.ts'
import { refusalsPerDayMax } from '../../src/hsm/decisions.ts'
import { type ReleaseCall, releasePassphrase } from '../../src/qrexec/calls/release.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { codeOf, never } from './support.ts'
import { profile, World } from './world.ts'

/** One less than dom0 may hold connections. */
const atOnce = 31
const heapGrowthMax = 16 * 1024 * 1024
const milliseconds = 120_000
const hsmVm = parseVmName('sys-hsm')
const wanted = parseJobId('20261124T031500Z-0000abcd')

/** Of what is still in use. */
function heapUsed(): number {
  setFlagsFromString('--expose-gc')
  ;(runInNewContext('gc') as () => void)()
  return process.memoryUsage().heapUsed
}

type Told = Map<string, number>

/**
 * A real service on its socket: `count` requests of dom0 that are refused or wait for a person, and as many of another VM, while
 * one release is asked that a person has approved. It is given at the first asking, and what remains of the flood is bounded.
 */
export async function requireAnsweredInFlood(count: number): Promise<void> {
  const world = await World.start()
  try {
    world.binding = { ...world.binding, approve: 'always' }
    const pending = await world.call()
    const kinds: readonly [string, ReleaseCall][] = [
      [profile, pending],
      [profile, { ...pending, entry: new Uint8Array(60_000).fill(0x20) }],
      ['weekly', pending],
      ['weekly\u0020', pending],
    ]
    // At least `share`, and on and on as long as the release is not given.
    const flood = async (told: Told, share: number, isOver: () => boolean) => {
      for (let index = 0; index < share || !isOver(); index += 1) {
        const [argument, call] = kinds[index % kinds.length] ?? [profile, pending]
        const ask = async () =>
          callOver(
            world.transport,
            releasePassphrase,
            hsmVm,
            argument,
            call,
            new AbortController().signal,
            milliseconds,
          )
        const code = await codeOf(ask)
        told.set(code, (told.get(code) ?? 0) + 1)
      }
    }
    const floodAll = async (isOver: () => boolean) => {
      const told: Told = new Map()
      await Promise.all(Array.from({ length: atOnce }, () => flood(told, Math.ceil(count / atOnce), isOver)))
      return told
    }
    const { request, entry } = await world.request({ job: wanted })
    const remote = world.remote()
    let isGiven = false
    const before = heapUsed()
    const flooding = floodAll(() => isGiven)
    const release = remote.release(request, entry, never).then(passphrase => {
      isGiven = true
      passphrase.dispose()
    })
    while (!world.approvals.list().some(({ job }) => job === wanted)) await world.clock.sleep(1)
    world.approvals.decide(approvalCode(wanted), 'approved')
    const first = await Promise.race([release.then(() => 'release'), flooding.then(() => 'flood')])
    expect([first, isGiven]).toEqual(['release', true])
    const told = await flooding
    // Once the release has moved the ledger on, what shows an older one is refused.
    told.set('HSM_REFUSED_LEDGER', told.get('HSM_REFUSED_LEDGER') ?? 0)
    expect([...told.keys()].sort()).toEqual([
      'HSM_REFUSED_LEDGER',
      'HSM_REFUSED_REQUEST',
      'QREXEC_ANSWER_INVALID',
      'ok',
    ])
    expect([...told.values()].reduce((sum, one) => sum + one, 0)).toBeGreaterThanOrEqual(count)
    expect(world.approvals.list()).toHaveLength(1)
    expect(world.store.decisions.releases(profile)).toHaveLength(1)

    // Another VM that policy lets through by mistake waits for no turn, and takes none.
    world.source = parseVmName('work')
    const stranger = await floodAll(() => true)
    expect([...stranger.keys()].sort()).toEqual(['HSM_REFUSED_CALLER', 'QREXEC_ANSWER_INVALID'])
    const lines = readFileSync(world.recordFile, 'utf8').split('\n').length - 1
    expect(lines).toBeLessThanOrEqual(refusalsPerDayMax + 1)
    world.logged.length = 0
    expect(heapUsed() - before).toBeLessThan(heapGrowthMax)
  } finally {
    await world.stop()
  }
}
