import { errorKinds, reportOf } from '../../base/errors.ts'
import { finalStates, type Job, type ProfileState } from '../../qrexec/calls/orders.ts'
import type { Schedule } from '../catalogue/schedule-records.ts'
import type { WitnessState } from '../catalogue/witness-records.ts'
import type { RouteContext } from '../context.ts'
import type { OfferedProfiles } from '../dom0.ts'
import type { MachineState } from '../machine-watch.ts'
import { StatusSchema, type StatusView } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { nextStarts } from '../timetable.ts'
import { jobView, timeView } from '../views.ts'
import { answers } from './answers.ts'

export function statusRoutes(app: Routes, context: RouteContext): void {
  app.get(
    '/v1/status',
    {
      schema: {
        summary: 'What is configured, running, due and wrong; answers also when dom0 does not',
        response: answers({ 200: StatusSchema }),
      },
    },
    async () => statusOf(context),
  )
}

async function statusOf(context: RouteContext): Promise<StatusView> {
  const { catalogue, environment, ledger, machine } = context
  const now = environment.clock.now()
  const dom0 = await askDom0(context)
  const [backups, successes, checks, scrubs, running, schedules] = await Promise.all([
    catalogue.jobs.newest('backup', finalStates),
    catalogue.jobs.newest('backup', ['done']),
    catalogue.jobs.newest('check', finalStates),
    catalogue.jobs.newest('scrub', finalStates),
    catalogue.jobs.unfinished(),
    catalogue.schedules.list(),
  ])
  const witness = ledger === null ? null : await catalogue.witness.get(ledger.origin)
  const attested = machine?.latest ?? null
  const scheduleOf = new Map<string, Schedule>(schedules.map(schedule => [schedule.profile, schedule]))
  const stateOf = new Map(dom0.offered?.profiles.map(state => [String(state.name), state]))
  const names = dom0.offered?.profiles.map(({ name }) => name) ?? [...scheduleOf.keys(), ...backups.keys()]
  return {
    time: now.toISOString(),
    dom0: { reachable: dom0.offered !== null, code: dom0.code },
    configuration: dom0.offered === null ? null : { ...dom0.offered.configuration },
    ledger: witness === null ? null : ledgerView(witness),
    machine: attested && { state: attested.state, time: attested.time.toISOString() },
    alarms: [
      ...machineAlarms(attested, dom0.offered !== null),
      ...dom0.alarms.map(({ code, message }) => ({ code, message, time: now.toISOString(), profile: null })),
      ...(dom0.offered?.alarms ?? []).map(({ code, message, time }) => ({
        code,
        message,
        time: time.toISOString(),
        profile: null,
      })),
      ...alarmsOf(
        witness,
        schedules,
        [...backups.values(), ...checks.values(), ...scrubs.values()],
        [...stateOf.values()],
      ),
    ],
    running: running.map(jobView),
    profiles: [...new Set(names)].sort().map(name => ({
      name,
      nextRun: timeView(earliest(nextRunOf(scheduleOf.get(name), now), stateOf.get(name)?.nextRun ?? null)),
      lastBackup: viewOrNull(backups.get(name)),
      lastSuccess: timeView(successes.get(name)?.ended ?? null),
      lastCheck: viewOrNull(checks.get(name)),
      unreadSince: timeView(stateOf.get(name)?.unreadSince ?? null),
    })),
  }
}

async function askDom0({ dom0, history, log, closing }: RouteContext): Promise<Dom0State> {
  try {
    const [offered] = await Promise.all([dom0.profiles(closing), history.refresh(closing)])
    return { offered, code: null, alarms: [] }
  } catch (error) {
    const { code, kind, message } = reportOf(error)
    if (errorKinds[kind].status < 500 && kind !== 'refused') throw error
    log.warn('dom0 could not be asked for its state', { error })
    // A dom0 that is away is no alarm; one whose sealed store or ledger was changed is.
    return { offered: null, code, alarms: kind === 'integrity' ? [{ code, message }] : [] }
  }
}

interface Dom0State {
  readonly offered: OfferedProfiles | null
  readonly code: string | null
  readonly alarms: readonly { readonly code: string; readonly message: string }[]
}

function ledgerView({ size, root, seen, alarm }: WitnessState): NonNullable<StatusView['ledger']> {
  return { size, root, seen: seen.toISOString(), state: alarm === null ? 'witnessed' : 'alarm' }
}

/** Of a machine that has attested before. One that is away as a whole is no alarm. */
function machineAlarms(machine: MachineState | null, isReachable: boolean): StatusView['alarms'] {
  if (machine === null || !machine.isKnown || machine.state === 'accepted') return []
  const { state, findings, error } = machine
  if (state === 'unanswered' && !isReachable) return []
  const reasons: readonly { readonly code: string; readonly message: string }[] =
    error === null
      ? findings
          .filter(({ severity }) => severity === 'refused')
          .map(({ code, words }) => ({ code, message: words }))
      : [error]
  const time = machine.time.toISOString()
  return reasons.map(({ code, message }) => ({ code, message, time, profile: null }))
}

/** What needs a person, the ledger first. */
function alarmsOf(
  witness: WitnessState | null,
  schedules: readonly Schedule[],
  ended: readonly Job[],
  states: readonly ProfileState[],
): StatusView['alarms'] {
  const alarms: StatusView['alarms'] = []
  const add = (code: string, message: string, time: Date, profile: string | null) =>
    alarms.push({ code, message, time: time.toISOString(), profile })
  if (witness?.alarm) add(witness.alarm.code, witness.alarm.message, witness.alarm.time, null)
  for (const { profile, failure } of schedules)
    if (failure !== null) add(failure.code, failure.message, failure.time, profile)
  for (const { state, error, ended: time, profile } of ended)
    if (state === 'failed' && error !== null && time !== null) add(error.code, error.message, time, profile)
  for (const { name, alarms: ofDom0 } of states)
    for (const { code, message, time } of ofDom0) add(code, message, time, name)
  return alarms
}

function nextRunOf(schedule: Schedule | undefined, now: Date): Date | null {
  if (schedule === undefined) return null
  return nextStarts(schedule.profile, schedule, now, 1)[0] ?? null
}

/** The management VM orders by its schedules, dom0 by the sealed ones. */
function earliest(one: Date | null, other: Date | null): Date | null {
  if (one === null || other === null) return one ?? other
  return one < other ? one : other
}

function viewOrNull(job: Job | undefined) {
  return job === undefined ? null : jobView(job)
}
