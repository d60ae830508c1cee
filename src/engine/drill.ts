import {
  type DrillLevel,
  type LevelResult,
  type LevelVerdict,
  levelMessageLengthMax,
} from '../base/drill-levels.ts'
import type { DrillRules } from '../base/drill-rules.ts'
import { CodedError } from '../base/errors.ts'
import { parseReadChoice, readingOf } from '../base/read-choice.ts'
import { examinedLevels } from '../drill/examined-levels.ts'
import type { RestoredVolume } from '../host/drill-rooms.ts'
import type { JobPhase, Outcome } from '../qrexec/calls/orders.ts'
import type { Examination } from '../repository/examination.ts'
import { planReading } from '../repository/read-cycle.ts'
import { disclosable } from './disclose.ts'
import type { DrilledSnapshot, DrillPorts, RestoreTimes } from './drill-ports.ts'
import { EngineError } from './errors.ts'
import { examine, findSnapshot } from './examine.ts'
import type { EnginePorts } from './ports.ts'
import type { Task } from './task.ts'

/** Of a profile that says nothing of drills. */
const drillRulesDefault: DrillRules = {
  levels: ['objects', 'data'],
  withinDays: null,
  files: [],
  boot: null,
  program: null,
}
const structureOnly = readingOf(parseReadChoice('structure'))

/** What a sandbox says that is no honest answer. */
const suspicious = ['VERDICT_INVALID', 'SANDBOX_DEADLINE']

/**
 * One accepted order of a restore drill. Level after level, up to the first that does not pass; whatever it was, the signed report
 * and the entry in the ledger are made. Throws `DRILL_FAILED` or `DRILL_SUSPICIOUS` then, and what keeps a drill from coming to a
 * verdict at all: no storage, no release, no room.
 */
export async function runDrill(ports: EnginePorts, task: Task): Promise<Outcome> {
  const { job, order, profile, configuration } = task
  const { clock } = ports.environment
  const rules = profile.drill ?? drillRulesDefault
  const boot = requirePossible(ports, rules)
  const began = clock.now()
  const { history, snapshot } = await findSnapshot(ports, task, order.snapshot ?? null)
  const levels = new Levels(ports, task)
  await using room = await ports.drills.rooms.begin(job.id)
  const restored = await examine(ports, task, history, 'drill', async examination => {
    const { snapshotId } = snapshot
    if (rules.levels.includes('objects'))
      if (!(await levels.try('objects', () => checkObjects(ports, task, examination)))) return null
    if (!rules.levels.includes('data')) return null
    const start = clock.monotonic()
    const restore = async () => {
      await ports.drills.restoreInto(room.sink, examination, snapshotId, task.report, task.signal)
    }
    if (!(await levels.try('data', restore))) return null
    const fromOrder = Math.max(0, clock.now().getTime() - job.ordered.getTime())
    return { fromOrder, milliseconds: Math.round(clock.monotonic() - start) } satisfies RestoreTimes
  })
  if (restored !== null)
    await lookInto({ ports, task, rules, snapshot, boot, levels, volumes: await room.volumes() })
  const { verdicts, tools, result } = levels
  // A clock that was set back must not keep the report from being made.
  const ended = new Date(Math.max(began.getTime(), clock.now().getTime()))
  const facts = { job, configuration: configuration.digest, history, snapshot, rules, began, ended }
  const report = await ports.drills.report({ ...facts, result, levels: verdicts, tools, restored })
  const passed = verdicts.filter(one => one.result === 'passed').map(({ level }) => level)
  await ports.ledger.append([
    {
      type: 'drill',
      time: ended,
      job: job.id,
      profile: profile.name,
      repository: history.repository,
      epoch: history.epoch,
      snapshotId: snapshot.snapshotId,
      result,
      levels: passed,
      report,
    },
  ])
  if (result !== 'passed') throw drillError(verdicts)
  return {
    snapshot: snapshot.snapshotId,
    bytes: snapshot.bytes,
    bytesStored: undefined,
    volumes: snapshot.volumes,
    warnings: [],
    objects: undefined,
    snapshots: undefined,
    prune: undefined,
    drill: { result, levels: verdicts },
  }
}

/** What starts a machine, where the rules want one. Throws `DRILL_IMPOSSIBLE` where this host has none. */
function requirePossible({ drills }: EnginePorts, { levels }: DrillRules): DrillPorts['boot'] {
  if (drills.boot === null && levels.includes('boot'))
    throw new EngineError('DRILL_IMPOSSIBLE', "this machine cannot prove the level 'boot'")
  return drills.boot
}

function drillError(verdicts: readonly LevelVerdict[]): EngineError {
  const last = verdicts.at(-1)
  const code = last?.result === 'suspicious' ? 'DRILL_SUSPICIOUS' : 'DRILL_FAILED'
  return new EngineError(code, `level '${last?.level}': ${last?.message}`)
}

async function checkObjects(
  { environment, examiner }: EnginePorts,
  { report, signal }: Task,
  examination: Examination,
): Promise<void> {
  const { checks, time } = examination.history
  const plan = planReading(structureOnly, checks, time, environment.clock.now())
  const { fault } = await examiner.check(examination, plan, report, signal)
  if (fault !== null) throw fault
}

interface Look {
  readonly ports: EnginePorts
  readonly task: Task
  readonly rules: DrillRules
  readonly snapshot: DrilledSnapshot
  readonly boot: DrillPorts['boot']
  readonly volumes: readonly RestoredVolume[]
  readonly levels: Levels
}

/** In the order of `drillLevels`: file systems and files in a sandbox, then a machine of its own, then the program. */
async function lookInto(look: Look): Promise<void> {
  const { rules, task, boot, levels } = look
  if (!(await examineIn(look, ['filesystem', 'files']))) return
  if (rules.boot !== null && boot !== null) {
    levels.phase('booting')
    if (!levels.add([await boot(rules.boot, task.job.id, task.signal)])) return
  }
  await examineIn(look, ['program'])
}

async function examineIn(
  { ports: { drills }, task: { job, signal }, rules, snapshot, volumes, levels }: Look,
  some: readonly DrillLevel[],
): Promise<boolean> {
  const chosen = examinedLevels.filter(level => some.includes(level) && rules.levels.includes(level))
  if (chosen.length === 0) return true
  levels.phase('examining')
  const named = volumes.map(({ vm, volume, bytes }) => ({ vm, volume, bytes }))
  const order = { job: job.id, levels: chosen, rules, snapshotTime: snapshot.time, volumes: named }
  const { levels: verdicts, tools } = await drills.examine(order, signal)
  levels.use(tools)
  return levels.add(verdicts)
}

/** What has been proven so far. */
class Levels {
  readonly #ports: EnginePorts
  readonly #task: Task
  readonly #verdicts: LevelVerdict[] = []
  readonly #tools = new Set<string>()

  constructor(ports: EnginePorts, task: Task) {
    this.#ports = ports
    this.#task = task
  }

  get verdicts(): readonly LevelVerdict[] {
    return this.#verdicts
  }

  get tools(): readonly string[] {
    return [...this.#tools]
  }

  get result(): LevelResult {
    return this.#verdicts.find(({ result }) => result !== 'passed')?.result ?? 'passed'
  }

  phase(phase: JobPhase): void {
    this.#task.report({ phase, bytesDone: 0, bytesTotal: 0, bytesStored: 0 })
  }

  use(tools: readonly string[]): void {
    for (const tool of tools) this.#tools.add(tool)
  }

  /** Whether all so far have passed. */
  add(verdicts: readonly LevelVerdict[]): boolean {
    this.#verdicts.push(...verdicts)
    return this.result === 'passed'
  }

  /** Whether it passed. Throws what says nothing about the backup. */
  async try(level: DrillLevel, work: () => Promise<void>): Promise<boolean> {
    const { clock } = this.#ports.environment
    const start = clock.monotonic()
    const found = await this.#verdict(level, work)
    return this.add([{ level, ...found, milliseconds: Math.round(clock.monotonic() - start) }])
  }

  async #verdict(
    level: DrillLevel,
    work: () => Promise<void>,
  ): Promise<Pick<LevelVerdict, 'result' | 'message'>> {
    const { job, signal } = this.#task
    try {
      await work()
      return { result: 'passed', message: '' }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof CodedError) || !saysSomething(error)) throw error
      this.#ports.log.error('a level of a drill did not pass', { job: job.id, level, error })
      const message = `${error.code}: ${disclosable(error).message}`.slice(0, levelMessageLengthMax)
      return { result: suspicious.includes(error.code) ? 'suspicious' : 'failed', message }
    }
  }
}

/** Of the backup, rather than of the way to it. */
function saysSomething({ code, kind }: CodedError): boolean {
  return kind === 'integrity' || suspicious.includes(code)
}
