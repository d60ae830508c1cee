import type { ScheduleSettingView, ScheduleView } from '../../api/schemas.ts'
import { printable } from '../../base/errors.ts'
import { jitterMinutesMax } from '../../profiles/jitter.ts'
import { parseNothing, parseSchedulesView, parseScheduleView } from '../answers.ts'
import { CliError } from '../errors.ts'
import { table, timeText } from '../render.ts'
import { type AddCommand, act, describe } from './command.ts'

interface SetOptions {
  readonly timeZone?: string
  readonly jitter?: string
  readonly catchUp: boolean
  readonly disabled?: boolean
}

export const addSchedule: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'schedule',
    summary: 'set, show and remove schedules',
    examples: [
      "strongroom schedule set nightly 'mon..fri 21:00' --time-zone Europe/Berlin",
      'strongroom schedule show',
    ],
  })
  for (const add of [addSet, addShow, addRemove]) add(command, io)
  parent.addCommand(command)
}

const addSet: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'set <profile> <calendar>',
    summary: 'set the schedule of a profile: a systemd calendar expression',
    examples: [
      'strongroom schedule set nightly daily',
      "strongroom schedule set nightly '*-*-* 02:30:00' --jitter 20",
    ],
  })
    .option('--time-zone <name>', 'IANA time zone', 'UTC')
    .option('--jitter <minutes>', `spread starts over this many minutes, at most ${jitterMinutesMax}`, '0')
    .option('--no-catch-up', 'do not make up for a run that was missed')
    .option('--disabled', 'keep the schedule, but order nothing')
    .action(
      act<SetOptions>(io, async (session, options, [profile = '', calendar = '']) => {
        const body: ScheduleSettingView = {
          calendar,
          timeZone: options.timeZone ?? 'UTC',
          jitterMinutes: minutes(options.jitter ?? '0'),
          catchUp: options.catchUp,
          enabled: options.disabled !== true,
        }
        const schedule = await session.api.request('PUT', pathOf(profile), parseScheduleView, { body })
        session.result('schedule', { schedule }, textOf(schedule))
      }),
    )
  parent.addCommand(command)
}

const addShow: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'show [profile]',
    summary: 'show one schedule with its next five runs, or all of them',
    examples: ['strongroom schedule show', 'strongroom schedule show nightly'],
  }).action(
    act(io, async (session, _options, [profile]) => {
      if (profile !== undefined) {
        const schedule = await session.api.request('GET', pathOf(profile), parseScheduleView)
        return session.result('schedule', { schedule }, textOf(schedule))
      }
      const { schedules } = await session.api.request('GET', '/v1/schedules', parseSchedulesView)
      session.result('schedules', { schedules }, table(head, schedules.map(row)))
    }),
  )
  parent.addCommand(command)
}

const addRemove: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'remove <profile>',
    summary: 'remove the schedule of a profile',
    examples: ['strongroom schedule remove nightly'],
  }).action(
    act(io, async (session, _options, [profile = '']) => {
      await session.api.request('DELETE', pathOf(profile), parseNothing)
      session.result('schedule-removed', { profile }, `the schedule of ${profile} is removed\n`)
    }),
  )
  parent.addCommand(command)
}

const head = ['PROFILE', 'CALENDAR', 'TIME ZONE', 'STATE', 'NEXT RUN']

function row(schedule: ScheduleView): readonly string[] {
  const { profile, calendar, timeZone, nextRuns } = schedule
  return [profile, calendar, timeZone, stateOf(schedule), timeText(nextRuns[0] ?? null)]
}

function textOf(schedule: ScheduleView): string {
  const { profile, calendar, timeZone, jitterMinutes, catchUp, nextRuns, failure } = schedule
  const rows = [
    ['profile', profile],
    ['calendar', `${calendar} (${timeZone})`],
    ['jitter', `${jitterMinutes} minutes`],
    ['catch up', catchUp ? 'yes' : 'no'],
    ['state', failure === null ? stateOf(schedule) : `${failure.message} [${failure.code}]`],
    ...nextRuns.map((run, index) => [index === 0 ? 'next runs' : '', timeText(run)]),
  ]
  return rows.map(([name = '', value = '']) => `${name.padEnd(10)} ${value}\n`).join('')
}

function stateOf({ enabled, failure }: ScheduleView): string {
  if (!enabled) return 'disabled'
  return failure === null ? 'enabled' : `failed [${failure.code}]`
}

function pathOf(profile: string): string {
  return `/v1/profiles/${encodeURIComponent(profile)}/schedule`
}

function minutes(text: string): number {
  const value = /^\d{1,4}$/.test(text) ? Number(text) : Number.NaN
  if (value <= jitterMinutesMax) return value
  throw new CliError(
    'CLI_USAGE',
    `--jitter is '${printable(text).slice(0, 80)}'; expected whole minutes from 0 to ${jitterMinutesMax}, without a unit`,
  )
}
