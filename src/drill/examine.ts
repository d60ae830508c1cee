import { utf8 } from '../base/bytes.ts'
import type { LevelVerdict } from '../base/drill-levels.ts'
import { deadline } from '../base/environment.ts'
import { CodedError } from '../base/errors.ts'
import { parseJson } from '../base/json.ts'
import type { Log } from '../base/log.ts'
import { readAll } from '../base/reader.ts'
import { HostError } from '../host/errors.ts'
import type { Sandbox, Sandboxes, SandboxLimits } from '../host/sandboxes.ts'
import { DrillError } from './errors.ts'
import { messageOf, rowOf } from './findings.ts'
import {
  type ExaminationTask,
  type ExaminationVerdict,
  type ExaminedLevelVerdict,
  examinationTaskBytesMax,
  parseExaminationVerdict,
  verdictBytesMax,
} from './protocol.ts'

/** For whoever starts the sandbox to notice that its time is over. */
const graceMilliseconds = 5000

export interface ExaminationPorts {
  /** Those that are shown the volumes of the job. */
  readonly sandboxes: Sandboxes
  readonly limits: SandboxLimits
  readonly log: Log
}

/** Without what the ports say of limits. At least one level, in order. */
export type ExaminationOrder = Omit<ExaminationTask, keyof SandboxLimits>

export interface Examined {
  /** One for each level asked for, up to and with the first that did not pass. */
  readonly levels: readonly LevelVerdict[]
  /** E.g. `e2fsck 1.47.0`. */
  readonly tools: readonly string[]
}

/**
 * dom0's half of looking into restored volumes: one task into a disposable, one line out of it. Whatever else comes of it, the
 * first level is `suspicious`. Throws only what is not the volumes' doing: the signal's reason, `EXAMINATION_TOO_LARGE`, and
 * what kept the sandbox from being started.
 */
export async function examineVolumes(
  { sandboxes, limits, log }: ExaminationPorts,
  order: ExaminationOrder,
  signal: AbortSignal,
): Promise<Examined> {
  const { memoryBytesMax, millisecondsMax } = limits
  const line = utf8(`${JSON.stringify({ ...order, memoryBytesMax, millisecondsMax })}\n`)
  if (line.byteLength > examinationTaskBytesMax)
    throw new DrillError(
      'EXAMINATION_TOO_LARGE',
      `a task of ${line.byteLength} bytes; at most ${examinationTaskBytesMax}`,
    )
  await using sandbox = await sandboxes.start(order.job, limits, signal)
  const late = () =>
    new HostError('SANDBOX_DEADLINE', `${sandbox.vm} gave no verdict in ${millisecondsMax} ms`)
  const stop = deadline(millisecondsMax + graceMilliseconds, late, signal)
  try {
    const verdict = await verdictOf(sandbox, line, stop)
    requireAnswered(order, verdict)
    return {
      levels: verdict.levels.map(one => levelOf(one, millisecondsMax)),
      tools: verdict.tools.map(({ name, version }) => `${name} ${version}`),
    }
  } catch (error) {
    signal.throwIfAborted()
    log.warn('no verdict on volumes', { job: order.job, vm: sandbox.vm, error })
    return { levels: [unanswered(order, error)], tools: [] }
  }
}

async function verdictOf(sandbox: Sandbox, line: Uint8Array, stop: AbortSignal): Promise<ExaminationVerdict> {
  const { channel } = sandbox
  const cut = () => channel.destroy(stop.reason instanceof Error ? stop.reason : undefined)
  channel.on('error', () => {})
  stop.addEventListener('abort', cut, { once: true })
  if (stop.aborted) cut()
  try {
    // The writing half stays open: where the host starts the sandbox, its end means that dom0 has gone.
    channel.write(line)
    const untrustedBytes = await readAll(channel, verdictBytesMax)
    return untrustedBytes.parse(bytes => parseVerdictLine(bytes))
  } finally {
    stop.removeEventListener('abort', cut)
  }
}

/** One line, and nothing behind it. */
function parseVerdictLine(untrustedBytes: Uint8Array): ExaminationVerdict {
  if (untrustedBytes.indexOf(0x0a) !== untrustedBytes.byteLength - 1)
    throw new DrillError('EXAMINATION_INVALID', 'the sandbox answered with something that is not one line')
  return parseExaminationVerdict(parseJson(untrustedBytes, { bytesMax: verdictBytesMax, depthMax: 4 }))
}

/** That it answers what was asked: each level in turn, none after one that did not pass, of volumes and rules that there are. */
function requireAnswered(order: ExaminationOrder, verdict: ExaminationVerdict): void {
  const fault = faultOf(order, verdict)
  if (fault !== null) throw new DrillError('EXAMINATION_INVALID', `the sandbox's verdict ${fault}`)
}

function faultOf(order: ExaminationOrder, { levels, tools }: ExaminationVerdict): string | null {
  const last = levels.at(-1)
  if (last === undefined) return 'is empty'
  if (levels.length > order.levels.length) return 'has more levels than were asked for'
  for (const [index, one] of levels.entries()) {
    const { levels: places, result } = rowOf(one)
    if (one.level !== order.levels[index]) return `has another level in place ${index + 1}`
    if (!places.includes(one.level)) return `says ${one.finding} of ${one.level}`
    if (result !== 'passed' && one !== last) return 'goes on after a level that did not pass'
    if ((one.volume ?? 0) > order.volumes.length) return 'speaks of a volume that there is not'
    if (one.level === 'files' && (one.number ?? 0) > order.rules.files.length)
      return 'speaks of a rule that there is not'
  }
  if (rowOf(last).result === 'passed' && levels.length < order.levels.length) return 'leaves levels out'
  if (new Set(tools.map(({ name }) => name)).size !== tools.length) return 'names a tool twice'
  return null
}

function levelOf(one: ExaminedLevelVerdict, millisecondsMax: number): LevelVerdict {
  return {
    level: one.level,
    result: rowOf(one).result,
    message: messageOf(one),
    milliseconds: Math.min(one.milliseconds, millisecondsMax),
  }
}

function unanswered({ levels }: ExaminationOrder, error: unknown): LevelVerdict {
  const late = error instanceof CodedError && error.code === 'SANDBOX_DEADLINE'
  return {
    level: levels[0] ?? 'filesystem',
    result: 'suspicious',
    message: late
      ? 'the sandbox gave no verdict in time, and was destroyed'
      : 'the sandbox gave no verdict that can be believed, and was destroyed',
    milliseconds: 0,
  }
}
