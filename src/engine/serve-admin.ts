import type { Duplex } from 'node:stream'
import { KiB, utf8 } from '../base/bytes.ts'
import { deadline } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import { dom0, type ProfileName, parseProfileName, type VmName } from '../base/names.ts'
import { readAll } from '../base/reader.ts'
import { encodeEvent, encodeOk, encodeStockException, type StockExceptionType } from '../qrexec/admin-api.ts'
import { hasEnded, type Job } from '../qrexec/calls/orders.ts'
import { QrexecError } from '../qrexec/errors.ts'
import type { RequestedTarget } from '../qrexec/framing.ts'
import type { Handler, IncomingCall } from '../qrexec/server.ts'
import { disclosable } from './disclose.ts'
import { EngineError } from './errors.ts'
import { summarize } from './info.ts'
import { adminVm, type Judge } from './judge.ts'
import { Listeners, tell } from './listener.ts'
import type { Orders } from './orders.ts'
import { planBackup } from './plan.ts'
import type { EnginePorts } from './ports.ts'

/*
 * `admin.backup.Info|Execute|Cancel+PROFILE` and `admin.Events`, as qubesd answers them (qubes/api/admin.py), so that
 * `qvm-backup --profile` in the management VM works unchanged. Departures, all towards refusing: a second Execute does
 * not bother the HSM VM before it is refused; Info shows no name that the caller may not list; Cancel also works while
 * the passphrase is waited for; events of a profile go only to those who may Execute it.
 */

const eventIntervalMilliseconds = 1000
/** As qubesd: more than this is not answered at all. */
const payloadBytesMax = 64 * KiB
const requestMilliseconds = 30_000
/** Of one VM. */
const listenersMax = 8
const infoBytesMax = 1024 * 1024

export const executeService = 'admin.backup.Execute'
export const infoService = 'admin.backup.Info'
export const cancelService = 'admin.backup.Cancel'
export const eventsService = 'admin.Events'

export function serveAdmin(ports: EnginePorts, orders: Orders, judge: Judge): Record<string, Handler> {
  const signal = new AbortController().signal
  const listeners = new Listeners(listenersMax)
  return {
    [executeService]: stock(async ({ source, argument }) => {
      const profile = profileOf(argument)
      const job = await orders.order({
        kind: 'backup',
        profile,
        initiator: source,
        key: orders.newKey(),
        ifRunning: 'refuse',
      })
      const { state, error } = await orders.ended(job.id)
      if (state === 'done') return ''
      throw stockError(error?.code ?? 'INTERNAL', error?.message ?? 'the backup failed')
    }),
    [infoService]: stock(async ({ source, argument }) => {
      const name = profileOf(argument)
      const { value } = await ports.configuration.current()
      const profile = value.profiles.get(name)
      if (profile === undefined)
        throw new EngineError('PROFILE_NOT_FOUND', `Backup profile does not exist: ${name}`)
      const inventory = await ports.inventory.list(signal)
      const mayList = (vm: VmName) =>
        source === dom0 || judge.allows({ service: 'admin.vm.List', argument: '', source, target: vm })
      return summarize(planBackup(profile, inventory), inventory, mayList)
    }),
    [cancelService]: stock(async ({ argument }) => {
      const running = orders.board.running(profileOf(argument), 'backup')
      if (running === undefined) throw new StockError('QubesException', 'Backup operation not running')
      orders.cancel(running.id)
      return ''
    }),
    [eventsService]: incoming => streamEvents(ports, orders, judge, listeners, incoming),
  }
}

class StockError extends Error {
  readonly type: StockExceptionType

  constructor(type: StockExceptionType, message: string) {
    super(message)
    this.type = type
  }
}

/** Reads the (empty) request to its end, then answers OK or EXCEPTION in qubesd's own words. */
function stock(answer: (incoming: IncomingCall) => Promise<string>): Handler {
  return async incoming => {
    const { stream, argument, requested } = incoming
    try {
      if ((await payloadLength(stream)) > 0) throw new StockError('ProtocolError', 'unexpected payload')
      if (argument === '') throw new StockError('ProtocolError', 'expected an argument')
      if (!isOfDom0(requested)) throw new StockError('ProtocolError', 'expected destination to be AdminVM')
      const content = utf8(await answer(incoming))
      stream.end(encodeOk(content.subarray(0, infoBytesMax)))
    } catch (error) {
      const { type, message } = error instanceof StockError ? error : stockErrorOf(error)
      stream.end(encodeStockException(type, message))
      throw error
    }
  }
}

async function payloadLength(stream: Duplex): Promise<number> {
  const slow = deadline(
    requestMilliseconds,
    () => new QrexecError('QREXEC_TIMEOUT', 'the request did not end'),
  )
  const cut = () => stream.destroy(slow.reason)
  slow.addEventListener('abort', cut, { once: true })
  try {
    return (await readAll(stream, payloadBytesMax)).parse(bytes => bytes.byteLength)
  } finally {
    slow.removeEventListener('abort', cut)
  }
}

function stockErrorOf(error: unknown): StockError {
  const { code, message } = disclosable(error)
  return stockError(code, message)
}

/** `qvm-backup` shows QubesException and its subclasses to its user; qubesd's other classes end it with a traceback. */
function stockError(code: string, message: string): StockError {
  switch (code) {
    case 'PROFILE_NOT_FOUND':
      return new StockError('QubesBackupProfileNotFoundError', message)
    case 'JOB_RUNNING':
      return new StockError('BackupAlreadyRunningError', 'Backup already running')
    case 'JOB_CANCELLED':
      return new StockError('BackupCancelledError', 'Backup cancelled')
    case 'JOB_ENDED':
      return new StockError('QubesException', 'Backup operation not running')
    default:
      return new StockError('QubesException', `${message} (${code})`)
  }
}

function profileOf(argument: string): ProfileName {
  if (argument.includes('/'))
    throw new StockError('ProtocolError', 'Backup profile ID must not contain forward slash character')
  try {
    return parseProfileName(argument)
  } catch (error) {
    if (error instanceof CodedError)
      throw new EngineError('PROFILE_NOT_FOUND', `Backup profile does not exist: ${argument}`)
    throw error
  }
}

function isOfDom0(requested: RequestedTarget | undefined): boolean {
  return requested === undefined || requested.target === 'dom0' || requested.target === 'adminvm'
}

/** `connection-established`, then `backup-progress` of what the caller may execute, at most once a second a profile. */
async function streamEvents(
  { environment: { clock } }: EnginePorts,
  orders: Orders,
  judge: Judge,
  listeners: Listeners,
  { stream, source, argument, requested }: IncomingCall,
): Promise<void> {
  if (argument !== '') {
    stream.end(encodeStockException('ProtocolError', 'unexpected argument'))
    return
  }
  const last = new Map<ProfileName, number>()
  const may = (service: string, argument: string) =>
    source === dom0 || judge.allows({ service, argument, source, target: adminVm })
  const hear = (job: Job) => {
    if (job.kind !== 'backup' || hasEnded(job) || job.progress.bytesTotal === 0) return
    const now = clock.monotonic()
    if (now - (last.get(job.profile) ?? Number.NEGATIVE_INFINITY) < eventIntervalMilliseconds) return
    if (!may(eventsService, 'backup-progress') || !may(executeService, job.profile)) return
    last.set(job.profile, now)
    const progress = String((100 * job.progress.bytesDone) / job.progress.bytesTotal)
    const values = { backup_profile: job.profile, progress }
    tell(stream, encodeEvent({ subject: '', event: 'backup-progress', values }))
  }
  tell(stream, encodeEvent({ subject: '', event: 'connection-established', values: {} }))
  // The events of one VM are asked for: jobs are events of the whole system.
  const forget = isOfDom0(requested) ? orders.board.subscribe(hear) : () => {}
  try {
    await listeners.untilClosed(source, stream)
  } finally {
    forget()
  }
}
