import { parseSnapshotView } from '../answers.ts'
import { CliError } from '../errors.ts'
import { type AddCommand, act, describe } from './command.ts'

const exampleId = '5be2'.repeat(16)

export const addHold: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'hold',
    summary: 'keep snapshots that the retention would not keep',
    examples: [`strongroom hold set work ${exampleId} 2027-01-31`, `strongroom hold end work ${exampleId}`],
  })
  for (const add of [addSet, addEnd]) add(command, io)
  parent.addCommand(command)
}

const addSet: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'set <profile> <snapshot> <date>',
    summary: 'hold a snapshot until a date in UTC; the sealed profile says how far ahead that may be',
    examples: [`strongroom hold set work ${exampleId} 2027-01-31`],
  }).action(
    act(io, async (session, _options, [profile = '', snapshot = '', date = '']) => {
      const body = { until: endOf(date) }
      const held = await session.api.request('PUT', pathOf(profile, snapshot), parseSnapshotView, { body })
      const until = held.heldUntil?.slice(0, 10)
      session.result('snapshot', { profile, ...held }, `${held.snapshot} is held until ${until}\n`)
    }),
  )
  parent.addCommand(command)
}

const addEnd: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'end <profile> <snapshot>',
    summary: 'end a hold before its date, where the sealed profile allows it',
    examples: [`strongroom hold end work ${exampleId}`],
  }).action(
    act(io, async (session, _options, [profile = '', snapshot = '']) => {
      const freed = await session.api.request('DELETE', pathOf(profile, snapshot), parseSnapshotView)
      session.result('snapshot', { profile, ...freed }, `${freed.snapshot} is no longer held\n`)
    }),
  )
  parent.addCommand(command)
}

function pathOf(profile: string, snapshot: string): string {
  return `/v1/profiles/${encodeURIComponent(profile)}/snapshots/${encodeURIComponent(snapshot)}/hold`
}

/** `2027-01-31` as its midnight. */
function endOf(date: string): string {
  const time = new Date(`${date}T00:00:00Z`)
  if (!/^\d{4}-\d\d-\d\d$/.test(date) || Number.isNaN(time.getTime()))
    throw new CliError('CLI_USAGE', 'a hold ends at a date like 2027-01-31')
  return time.toISOString()
}
