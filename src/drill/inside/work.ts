import type { Clock } from '../../base/environment.ts'
import { deadline } from '../../base/environment.ts'
import { printable } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { ExaminedLevel, ToolName } from '../examined-levels.ts'
import { type Finding, rowOf } from '../findings.ts'
import type { ExaminationTask, ExaminationVerdict, ExaminedLevelVerdict } from '../protocol.ts'
import type { CheckPorts } from './checkers.ts'
import { Fault } from './fault.ts'
import { proveFileSystems } from './file-systems.ts'
import { proveFiles } from './files.ts'
import { proveProgram } from './program.ts'
import { versionsOf } from './versions.ts'

/** Kept of the time that dom0 gives, which began before this process did: to say in that it was not enough. */
const reservedShare = 0.3
const reservedMillisecondsMax = 15_000
const complaintLengthMax = 2000

export interface InsidePorts {
  /** Holds `<vm>/<volume>.img`. */
  readonly volumes: string
  readonly clock: Clock
  readonly log: Log
}

/** Proves the levels of a task in order, up to the first that does not pass. */
export async function proveLevels(
  task: ExaminationTask,
  { volumes, clock, log }: InsidePorts,
): Promise<ExaminationVerdict> {
  const budget =
    task.millisecondsMax - Math.min(reservedMillisecondsMax, task.millisecondsMax * reservedShare)
  const end = clock.monotonic() + budget
  const used = new Set<ToolName>()
  const ports: CheckPorts = {
    memoryBytesMax: task.memoryBytesMax,
    stop: deadline(budget, () => new Fault('OUT_OF_TIME')),
    millisecondsLeft: () => end - clock.monotonic(),
    used: tool => used.add(tool),
    complain: text => log.warn('a program said', { text: printable(text.slice(0, complaintLengthMax)) }),
  }
  const levels: ExaminedLevelVerdict[] = []
  for (const level of task.levels) {
    const begun = clock.monotonic()
    const finding = await prove(level, task, volumes, ports).catch(error => {
      if (error instanceof Fault) return error.finding
      log.error('unexpected', { error })
      return new Fault('WORK_FAILED').finding
    })
    levels.push({ level, ...finding, milliseconds: Math.round(clock.monotonic() - begun) })
    if (rowOf(finding).result !== 'passed') break
  }
  const limits = {
    ...ports,
    stop: new AbortController().signal,
    millisecondsLeft: () => reservedMillisecondsMax,
  }
  return { levels, tools: await versionsOf(used, limits) }
}

function prove(
  level: ExaminedLevel,
  task: ExaminationTask,
  volumes: string,
  ports: CheckPorts,
): Promise<Finding> {
  switch (level) {
    case 'filesystem':
      return proveFileSystems(volumes, task.volumes, ports)
    case 'files':
      return proveFiles(volumes, task, ports)
    case 'program':
      return proveProgram(volumes, task.rules.program, ports)
  }
}
