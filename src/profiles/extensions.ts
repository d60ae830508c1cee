import type { DrillRules } from '../base/drill-rules.ts'
import { printable } from '../base/errors.ts'
import { volumeNamePattern } from '../base/names.ts'
import { type Budget, budgetDefault, parseBudget } from './budget.ts'
import { parseCalendar } from './calendar.ts'
import { parseDrill } from './drill.ts'
import { fault, ProfileError } from './errors.ts'
import { type HoldLimits, holdLimitsDefault } from './holds.ts'
import type { Limits } from './limits.ts'
import type { Retention } from './retention.ts'
import type { Schedule } from './schedule.ts'
import { booleanOf, fieldsOf, integerOf, listOf, missing, textOf } from './yaml-fields.ts'
import type { YamlNode } from './yaml-node.ts'
import { requireTimeZone } from './zone.ts'

/*
 * The keys under `strongroom:`, which stock qubesd ignores. All are optional.
 */

const keepMax = 100_000
const daysMax = 36_500
const minutesPerDay = 24 * 60
const volumesMax = 16

export interface Extensions {
  /** `null`: every snapshot is kept. */
  readonly retention: Retention | null
  readonly holds: HoldLimits
  readonly limits: Limits | null
  readonly schedule: Schedule | null
  readonly budget: Budget
  /** A newest snapshot older than this is an alarm. */
  readonly maxAgeDays: number | null
  /** Stored data that no check has read for longer is an alarm. */
  readonly checkWithinDays: number | null
  /** What a restore drill proves; `null`: what was restored is right, and no more. */
  readonly drill: DrillRules | null
  /** Names of volumes, e.g. `private`; `null`: all that the host offers for backup. */
  readonly volumes: readonly string[] | null
}

export const extensionsDefault: Extensions = {
  retention: null,
  holds: holdLimitsDefault,
  limits: null,
  schedule: null,
  budget: budgetDefault,
  maxAgeDays: null,
  checkWithinDays: null,
  drill: null,
  volumes: null,
}

export function parseExtensions(node: YamlNode): Extensions {
  const fields = fieldsOf(node, 'strongroom', [
    'retention',
    'holds',
    'limits',
    'schedule',
    'budget',
    'max_age_days',
    'check_within_days',
    'drill',
    'volumes',
  ])
  const optional = <T>(key: string, parser: (value: YamlNode) => T): T | null => {
    const value = fields.get(key)
    return value === undefined ? null : parser(value)
  }
  return {
    retention: optional('retention', parseRetention),
    holds: optional('holds', parseHolds) ?? holdLimitsDefault,
    limits: optional('limits', parseLimits),
    schedule: optional('schedule', parseSchedule),
    budget: optional('budget', parseBudget) ?? budgetDefault,
    maxAgeDays: optional('max_age_days', value => integerOf(value, 'max_age_days', 1, daysMax)),
    checkWithinDays: optional('check_within_days', value =>
      integerOf(value, 'check_within_days', 1, daysMax),
    ),
    drill: optional('drill', parseDrill),
    volumes: optional('volumes', parseVolumes),
  }
}

function parseRetention(node: YamlNode): Retention {
  const fields = fieldsOf(node, 'retention', [
    'keep_last',
    'keep_hourly',
    'keep_daily',
    'keep_weekly',
    'keep_monthly',
    'keep_yearly',
    'keep_within_days',
  ])
  const count = (key: string, max = keepMax): number => {
    const value = fields.get(key)
    return value === undefined ? 0 : integerOf(value, key, 0, max)
  }
  const retention: Retention = {
    keepLast: count('keep_last'),
    keepHourly: count('keep_hourly'),
    keepDaily: count('keep_daily'),
    keepWeekly: count('keep_weekly'),
    keepMonthly: count('keep_monthly'),
    keepYearly: count('keep_yearly'),
    keepWithinDays: count('keep_within_days', daysMax),
  }
  if (Object.values(retention).every(rule => rule === 0))
    throw fault('PROFILE_VALUE', node.at, 'retention keeps no snapshot at all', {
      hint: 'leave retention out to keep every snapshot',
    })
  return retention
}

function parseHolds(node: YamlNode): HoldLimits {
  const fields = fieldsOf(node, 'holds', ['days_max', 'may_end'])
  const days = fields.get('days_max')
  const mayEnd = fields.get('may_end')
  return {
    daysMax: days === undefined ? holdLimitsDefault.daysMax : integerOf(days, 'days_max', 0, daysMax),
    mayEnd: mayEnd === undefined ? holdLimitsDefault.mayEnd : booleanOf(mayEnd, 'may_end'),
  }
}

function parseLimits(node: YamlNode): Limits {
  const fields = fieldsOf(node, 'limits', ['orders_per_day', 'minutes_between'])
  const orders = fields.get('orders_per_day')
  const minutes = fields.get('minutes_between')
  if (orders === undefined && minutes === undefined)
    throw fault('PROFILE_VALUE', node.at, 'limits names no limit')
  return {
    ordersPerDay: orders === undefined ? null : integerOf(orders, 'orders_per_day', 1, minutesPerDay),
    minutesBetween:
      minutes === undefined ? null : integerOf(minutes, 'minutes_between', 1, 365 * minutesPerDay),
  }
}

export function parseSchedule(node: YamlNode): Schedule {
  const fields = fieldsOf(node, 'schedule', ['calendar', 'time_zone', 'jitter_minutes', 'catch_up'])
  const calendar = fields.get('calendar')
  if (calendar === undefined) throw missing('calendar', node.at)
  const zone = fields.get('time_zone')
  const jitter = fields.get('jitter_minutes')
  const catchUp = fields.get('catch_up')
  return {
    calendar: placed(calendar, 'calendar', parseCalendar),
    timeZone: zone === undefined ? 'UTC' : placed(zone, 'time_zone', requireTimeZone),
    jitterMinutes: jitter === undefined ? 0 : integerOf(jitter, 'jitter_minutes', 0, minutesPerDay),
    catchUp: catchUp === undefined ? true : booleanOf(catchUp, 'catch_up'),
  }
}

/** As `parser` throws it, with the place in front. */
function placed<T>(node: YamlNode, what: string, parser: (untrustedText: string) => T): T {
  const text = textOf(node, what)
  try {
    return parser(text)
  } catch (cause) {
    if (!(cause instanceof ProfileError)) throw cause
    throw fault(cause.code, node.at, `${what}: ${cause.message}`, { hint: cause.hint, cause })
  }
}

function parseVolumes(node: YamlNode): readonly string[] {
  const items = listOf(node, 'volumes')
  if (items.length === 0 || items.length > volumesMax)
    throw fault('PROFILE_VALUE', node.at, `volumes has ${items.length} names; expected 1 to ${volumesMax}`)
  const names: string[] = []
  for (const item of items) {
    const name = textOf(item, 'an item of volumes')
    if (!volumeNamePattern.test(name) || names.includes(name))
      throw fault(
        'PROFILE_VALUE',
        item.at,
        `'${printable(name).slice(0, 60)}' is no name of a volume, or is given twice`,
        { hint: 'the volumes of a VM are root and private' },
      )
    names.push(name)
  }
  return names
}
