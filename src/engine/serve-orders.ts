import { utf8 } from '../base/bytes.ts'
import {
  dom0,
  type JobId,
  type ProfileName,
  parseJobId,
  parseProfileName,
  type VmName,
} from '../base/names.ts'
import * as calls from '../qrexec/calls/orders.ts'
import { type Handler, type IncomingCall, respond } from '../qrexec/server.ts'
import { readableRepositories } from './epochs.ts'
import { EngineError } from './errors.ts'
import { adminVm, type Judge } from './judge.ts'
import { Listeners, tell } from './listener.ts'
import type { Orders } from './orders.ts'
import type { EnginePorts } from './ports.ts'
import { profileState } from './profile-state.ts'
import { summariesOf } from './snapshots.ts'

const progressIntervalMilliseconds = 1000

/** dom0's side of the calls in `qrexec/calls/orders.ts`. Policy has let the caller in; what it may see is judged here. */
export function serveOrders(ports: EnginePorts, orders: Orders, judge: Judge): Record<string, Handler> {
  const listeners = new Listeners(calls.jobEventsStreamsMax)
  const mayOrder = (source: VmName, profile: ProfileName) =>
    judge.allows({ service: calls.orderBackup.service, argument: profile, source, target: adminVm })
  const mineOnly = (source: VmName, id: JobId): calls.Job => {
    const job = orders.board.get(id)
    // A job of a profile that the caller may not order does not exist for it.
    if (!mayOrder(source, job.profile)) throw new EngineError('JOB_NOT_FOUND', `there is no job '${id}'`)
    return job
  }
  /** Whether a snapshot has a VM must not be found out by naming one that the caller may not know of. */
  const requireListed = async (source: VmName, vm: VmName | null) => {
    if (vm === null || source === dom0) return
    await ports.inventory.list(new AbortController().signal)
    if (!judge.allows({ service: 'admin.vm.List', argument: '', source, target: vm }))
      throw new EngineError('VM_NOT_LISTED', `there is no VM '${vm}' that ${source} may list`)
  }
  return {
    [calls.orderBackup.service]: respond(
      calls.orderBackup,
      ({ key, uploadBytesPerSecond, metered }, { source, argument }) =>
        orders.order({
          kind: 'backup',
          profile: parseProfileName(argument),
          initiator: source,
          key,
          uploadBytesPerSecond,
          metered,
          ifRunning: 'join',
        }),
    ),
    [calls.orderCheck.service]: respond(calls.orderCheck, ({ key, read }, { source, argument }) =>
      orders.order({
        kind: 'check',
        profile: parseProfileName(argument),
        initiator: source,
        key,
        read,
        ifRunning: 'refuse',
      }),
    ),
    [calls.orderScrub.service]: respond(calls.orderScrub, ({ key }, { source, argument }) =>
      orders.order({
        kind: 'scrub',
        profile: parseProfileName(argument),
        initiator: source,
        key,
        ifRunning: 'refuse',
      }),
    ),
    [calls.orderRestore.service]: respond(
      calls.orderRestore,
      ({ key, snapshot, choice }, { source, argument }) =>
        orders.order(
          {
            kind: 'restore',
            profile: parseProfileName(argument),
            initiator: source,
            key,
            snapshot,
            choice,
            ifRunning: 'refuse',
          },
          () => requireListed(source, choice.vm),
        ),
    ),
    [calls.orderDrill.service]: respond(calls.orderDrill, ({ key, snapshot }, { source, argument }) =>
      orders.order({
        kind: 'drill',
        profile: parseProfileName(argument),
        initiator: source,
        key,
        snapshot,
        ifRunning: 'refuse',
      }),
    ),
    [calls.readDrillReport.service]: respond(calls.readDrillReport, async (_, { source, argument }) => {
      const { id } = mineOnly(source, parseJobId(argument))
      const envelope = await ports.drills.readReport(id)
      if (envelope === null) throw new EngineError('REPORT_MISSING', `job ${id} has left no report`)
      return { envelope }
    }),
    [calls.orderPrune.service]: respond(calls.orderPrune, ({ key, dryRun }, { source, argument }) =>
      orders.order({
        kind: 'prune',
        profile: parseProfileName(argument),
        initiator: source,
        key,
        dryRun,
        ifRunning: 'refuse',
      }),
    ),
    [calls.cancelJob.service]: respond(calls.cancelJob, async (_, { source, argument }) => {
      const { id } = mineOnly(source, parseJobId(argument))
      return orders.cancel(id)
    }),
    [calls.listJobs.service]: respond(calls.listJobs, async (_, { source }) =>
      fitting(orders.board.list().filter(job => mayOrder(source, job.profile))),
    ),
    [calls.listProfiles.service]: respond(calls.listProfiles, async (_, { source }) => {
      const { value, version, digest } = await ports.configuration.current()
      const now = ports.environment.clock.now()
      const profiles = [...value.profiles.values()]
        .filter(({ name }) => mayOrder(source, name))
        .map(profile => {
          const binding = value.bindings.get(profile.name)
          const histories = binding === undefined ? [] : readableRepositories(ports, profile.name, binding)
          return profileState(profile, histories, ports.ledger.began, now)
        })
      const { alarm } = ports.configuration
      return { configuration: { version, digest }, profiles, alarms: alarm ? [alarm] : [] }
    }),
    [calls.listSnapshots.service]: respond(calls.listSnapshots, (_, { argument }) =>
      summariesOf(ports, parseProfileName(argument)),
    ),
    [calls.holdSnapshot.service]: respond(calls.holdSnapshot, ({ snapshot, until }, { source, argument }) =>
      orders.hold({ profile: parseProfileName(argument), snapshot, initiator: source }, until),
    ),
    [calls.endHold.service]: respond(calls.endHold, ({ snapshot }, { source, argument }) =>
      orders.endHold({ profile: parseProfileName(argument), snapshot, initiator: source }),
    ),
    [calls.jobEvents.service]: async incoming => {
      await streamJobs(ports, orders, parseProfileName(incoming.argument), listeners, incoming)
    },
  }
}

/** The newest that one answer can hold. */
function fitting(jobs: readonly calls.Job[]): readonly calls.Job[] {
  let bytes = 2
  return jobs.slice(0, calls.jobsCountMax).filter(job => {
    bytes += utf8(JSON.stringify(job)).byteLength + 1
    return bytes <= calls.listJobs.response.bytesMax
  })
}

/** The jobs that run now, then every change; progress at most once a second. Ends when the caller closes. */
async function streamJobs(
  { environment: { clock } }: EnginePorts,
  { board }: Orders,
  profile: ProfileName,
  listeners: Listeners,
  { source, stream }: IncomingCall,
): Promise<void> {
  const told = new Map<JobId, { state: string; phase: string; at: number }>()
  const hear = (job: calls.Job) => {
    if (job.profile !== profile) return
    const last = told.get(job.id)
    const now = clock.monotonic()
    const same = last?.state === job.state && last.phase === job.progress.phase
    if (same && now - (last?.at ?? 0) < progressIntervalMilliseconds) return
    if (calls.hasEnded(job)) told.delete(job.id)
    else told.set(job.id, { state: job.state, phase: job.progress.phase, at: now })
    tell(stream, utf8(`${JSON.stringify(job)}\n`))
  }
  const forget = board.subscribe(hear)
  try {
    for (const job of board.list().filter(one => !calls.hasEnded(one))) hear(job)
    await listeners.untilClosed(source, stream)
  } finally {
    forget()
  }
}
