import { dayMilliseconds } from '../base/quantities.ts'
import { parseReadChoice, type Reading, readingOf } from '../base/read-choice.ts'
import { slotsCount } from '../base/slots.ts'
import type { Outcome } from '../qrexec/calls/orders.ts'
import type { Examination } from '../repository/examination.ts'
import { checksPerCycle, oldestOf, planReading, type SlotTimes, slotTimes } from '../repository/read-cycle.ts'
import type { EnginePorts } from './ports.ts'
import type { Task } from './task.ts'
import type { Claiming } from './unnamed-packs.ts'

const structureOnly = parseReadChoice('structure')

/**
 * Checks as much as is asked for, and records in the ledger what that proved, also when something else is wrong. Throws
 * the fault that was found.
 */
export async function runCheck(
  ports: Pick<EnginePorts, 'environment' | 'examiner' | 'ledger'>,
  { job, order, report, signal }: Pick<Task, 'job' | 'order' | 'report' | 'signal'>,
  examination: Examination,
  claiming: Pick<Claiming, 'say'>,
): Promise<Outcome> {
  const read = order.read ?? structureOnly
  const { clock } = ports.environment
  const { history } = examination
  const now = clock.now()
  const times = slotTimes(history.checks, history.time, now)
  const reading = readingOf(read)
  const plan = planReading(reading, history.checks, history.time, now)
  const { fault, proven, outcome } = await ports.examiner.check(examination, plan, report, signal)
  if (proven !== null)
    await ports.ledger.append([
      {
        type: 'checked',
        time: clock.now(),
        job: job.id,
        profile: job.profile,
        repository: history.repository,
        epoch: history.epoch,
        read,
        // All that the ledger had by the order is in this history: the order's own entry came after it, and before the look.
        began: claiming.say(),
        entries: history.changed + 1,
        slotCount: slotsCount,
        ...proven,
        code: fault?.code ?? null,
      },
    ])
  if (fault !== null) throw fault
  return { ...outcome, warnings: [...outcome.warnings, ...lateWarnings(reading, times, now)] }
}

function lateWarnings(reading: Reading, times: SlotTimes, now: Date): readonly string[] {
  if (reading.kind !== 'cycle') return []
  const age = (now.getTime() - oldestOf(times).getTime()) / dayMilliseconds
  if (age <= reading.days) return []
  return [
    `some data had not been read for ${Math.floor(age)} days when this check began; a cycle of ${reading.days} days wants one every ${reading.days / checksPerCycle} days`,
  ]
}
