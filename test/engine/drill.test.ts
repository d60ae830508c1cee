import { describe, expect, test } from 'vitest'
import type { LevelVerdict } from '../../src/base/drill-levels.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { parseDigest } from '../../src/base/names.ts'
import type { DrillFacts } from '../../src/engine/drill-ports.ts'
import type { EnginePorts } from '../../src/engine/ports.ts'
import { profileState } from '../../src/engine/profile-state.ts'
import { SealedDrills } from '../../src/engine/sealed-drills.ts'
import { RestoreError } from '../../src/restore/errors.ts'
import { type EngineBench, run, testBench, testProfile } from '../support/engine.ts'
import { SteppedClock } from '../support/stepped-clock.ts'

const report = parseDigest('cd'.repeat(32))
const passed = (level: LevelVerdict['level']): LevelVerdict => ({
  level,
  result: 'passed',
  message: '',
  milliseconds: 1,
})
const drill = `  drill:
    levels: [ objects, data, filesystem, files, program ]
    within_days: 7
    files: [ { vm: work, volume: private, path: /canary } ]
    program: exit 0
`

const sealing = (rules: string) => `${testProfile}strongroom:\n${rules}`

interface Play {
  readonly fault?: Error | null
  readonly restore?: () => Promise<void>
  readonly levels?: readonly LevelVerdict[]
}

/** A host whose sandboxes answer as the test says. */
async function start(profileText: string, play: Play = {}) {
  const clock = new SteppedClock()
  const reports: DrillFacts[] = []
  const rooms = { begun: 0, open: 0 }
  const asked: string[] = []
  const nothing = {
    snapshot: undefined,
    bytes: 0,
    bytesStored: undefined,
    volumes: undefined,
    warnings: [],
    objects: 1,
    snapshots: 1,
    prune: undefined,
    drill: undefined,
  }
  const drills: EnginePorts['drills'] = {
    rooms: {
      async begin() {
        rooms.begun += 1
        rooms.open += 1
        return {
          sink: {} as never,
          volumes: async () => [],
          async [Symbol.asyncDispose]() {
            rooms.open -= 1
          },
        }
      },
    },
    async restoreInto() {
      await play.restore?.()
      return nothing
    },
    async examine({ levels }) {
      asked.push(levels.join())
      return { levels: play.levels ?? levels.map(passed), tools: ['e2fsck 1.47.0'] }
    },
    boot: null,
    async report(facts) {
      reports.push(facts)
      return report
    },
    readReport: async () => null,
  }
  const examiner: EnginePorts['examiner'] = {
    check: async () => ({ fault: (play.fault ?? null) as never, proven: null, outcome: nothing }),
    restore: () => Promise.reject(new Error('no restore')),
  }
  const environment = { clock, entropy: systemEntropy }
  const one = await testBench({ profileText, environment, ports: { drills, examiner } })
  expect((await run(one)).state).toBe('done')
  return { one, clock, reports, rooms, asked }
}

const entriesOf = (one: EngineBench) => one.ports.ledger.repository(one.profile, 1)?.drills ?? []

describe('a restore drill', () => {
  test('proves level after level, with one release for a drill, and leaves a report and an entry', async () => {
    const { one, reports, rooms, asked } = await start(sealing(drill))
    const job = await run(one, { kind: 'drill' })
    expect(job).toMatchObject({ state: 'done', outcome: { volumes: 2, drill: { result: 'passed' } } })
    const levels = ['objects', 'data', 'filesystem', 'files', 'program']
    expect(job.outcome?.drill?.levels.map(({ level }) => level)).toEqual(levels)
    expect(asked).toEqual(['filesystem,files', 'program'])
    expect(one.released.map(({ purpose }) => purpose)).toEqual(['backup', 'drill'])
    expect(reports).toMatchObject([{ result: 'passed', tools: ['e2fsck 1.47.0'], job: { id: job.id } }])
    expect(reports[0]?.restored?.milliseconds).toBeGreaterThanOrEqual(0)
    expect(entriesOf(one)).toMatchObject([{ job: job.id, result: 'passed', levels, report }])
    expect(rooms).toEqual({ begun: 1, open: 0 })
  })

  const wrong = new RestoreError('RESTORE_DIGEST', 'a chunk that does not have its hash')
  const silent = new RestoreError('VERDICT_INVALID', 'the sandbox gave no verdict')
  const bad: LevelVerdict = { level: 'filesystem', result: 'failed', message: 'e2fsck', milliseconds: 2 }
  test.each<readonly [string, Play, string, string, readonly string[]]>([
    ['an object is missing', { fault: wrong }, 'DRILL_FAILED', 'objects', []],
    ['a blob is wrong', { restore: () => Promise.reject(wrong) }, 'DRILL_FAILED', 'data', ['objects']],
    [
      'a sandbox is silent',
      { restore: () => Promise.reject(silent) },
      'DRILL_SUSPICIOUS',
      'data',
      ['objects'],
    ],
    ['a file system is damaged', { levels: [bad] }, 'DRILL_FAILED', 'filesystem', ['objects', 'data']],
  ])('where %s ends there, and is reported', async (_, play, code, level, levels) => {
    const { one, reports, rooms } = await start(sealing(drill), play)
    const job = await run(one, { kind: 'drill' })
    expect(job).toMatchObject({ state: 'failed', error: { code } })
    expect(job.error?.message).toContain(`level '${level}'`)
    expect(reports).toMatchObject([{ levels: [...levels.map(one => ({ level: one })), { level }] }])
    expect(entriesOf(one)).toMatchObject([
      { levels, result: code === 'DRILL_FAILED' ? 'failed' : 'suspicious' },
    ])
    expect(rooms.open).toBe(0)
  })

  test('that says nothing of the backup leaves no report', async () => {
    const full = new Error('no room')
    const { one, reports, rooms } = await start(sealing(drill), { restore: () => Promise.reject(full) })
    expect(await run(one, { kind: 'drill' })).toMatchObject({ state: 'failed' })
    expect([reports, entriesOf(one), rooms.open]).toEqual([[], [], 0])
  })

  test('of a level for which the host has no means is refused before anything is released', async () => {
    const boot = '  drill: { levels: [ data, boot ], boot: { vm: work, marker: up } }\n'
    const { one, rooms } = await start(sealing(boot))
    expect(await run(one, { kind: 'drill' })).toMatchObject({ error: { code: 'DRILL_IMPOSSIBLE' } })
    expect([one.released.length, rooms.begun]).toEqual([1, 0])
  })
})

describe('drills that nobody orders', () => {
  const days = (count: number) => count * 86_400_000
  const ordered = async ({ one, clock }: Awaited<ReturnType<typeof start>>, drills: SealedDrills) => {
    const { value } = await one.ports.configuration.current()
    await drills.tick(value)
    await drills.tick(value)
    const job = one.orders.board.list().find(({ kind, state }) => kind === 'drill' && state !== 'done')
    if (job !== undefined) await one.orders.ended(job.id)
    return [job?.initiator ?? null, clock.now()] as const
  }

  test('are ordered by dom0 in time, and are an alarm when none passes', async () => {
    const started = await start(sealing(drill))
    const { one, clock } = started
    const drills = new SealedDrills(one.ports, one.orders)
    const { value } = await one.ports.configuration.current()
    const profile = value.profiles.get(one.profile)
    if (profile === undefined) throw new Error('no profile')
    const alarms = () => {
      const history = one.ports.ledger.repository(one.profile, 1)
      if (history === null) throw new Error('no repository')
      return profileState(profile, [history], one.ports.ledger.began, clock.now()).alarms.map(
        ({ code }) => code,
      )
    }
    expect((await ordered(started, drills))[0]).toBe(null)
    clock.time += days(6)
    expect((await ordered(started, drills))[0]).toBe('dom0')
    expect(entriesOf(one)).toHaveLength(1)
    expect(alarms()).not.toContain('DRILL_OVERDUE')
    expect((await ordered(started, drills))[0]).toBe(null)
    clock.time += days(8)
    expect(alarms()).toContain('DRILL_OVERDUE')
  })
})
