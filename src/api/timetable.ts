import type { ProfileName } from '../base/names.ts'
import { dueRun, nextRuns, type Schedule as ProfileSchedule, parseCalendar } from '../profiles/schedule.ts'
import { requireTimeZone } from '../profiles/zone.ts'
import type { Schedule, ScheduleSetting } from './catalogue/schedule-records.ts'
import type { ScheduleSettingView } from './schemas.ts'

/** What was asked for, with the defaults. Throws the errors of `profiles` for a calendar or zone that is none. */
export function settingOf(view: ScheduleSettingView): ScheduleSetting {
  const { calendar, timeZone = 'UTC', jitterMinutes = 0, catchUp = true, enabled = true } = view
  parseCalendar(calendar)
  return { calendar, timeZone: requireTimeZone(timeZone), jitterMinutes, catchUp, enabled }
}

/** Starts after `after`, jitter included; none when the schedule is not enabled. */
export function nextStarts(
  profile: ProfileName,
  setting: ScheduleSetting,
  after: Date,
  countMax: number,
): readonly Date[] {
  return setting.enabled ? nextRuns(parsed(setting), profile, after, countMax) : []
}

/** The calendar time of the run to start now; the newest, however many were missed. `null`: none. */
export function dueNow(schedule: Schedule, now: Date): Date | null {
  return dueRun({ schedule: parsed(schedule), seed: schedule.profile, lastRun: schedule.lastRun, now })
}

function parsed({ calendar, timeZone, jitterMinutes, catchUp }: ScheduleSetting): ProfileSchedule {
  return { calendar: parseCalendar(calendar), timeZone, jitterMinutes, catchUp }
}
