import { parseSnapshotView } from '../answers.ts'
import { CliError } from '../errors.ts'
import { findSnapshot, snapshotsPath } from '../find-snapshot.ts'
import type { Session } from '../session.ts'
import { type AddCommand, act, describe } from './command.ts'

export const addHold: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'hold',
    summary: 'keep snapshots that the retention would not keep',
    examples: ['strongroom hold set nightly 6f3c09e1 2027-01-31', 'strongroom hold end nightly 6f3c09e1'],
  })
  for (const add of [addSet, addEnd]) add(command, io)
  parent.addCommand(command)
}

const addSet: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'set <profile> <snapshot> <date>',
    summary: 'hold a snapshot until a date in UTC; the sealed profile says how far ahead that may be',
    examples: ['strongroom hold set nightly 6f3c09e1 2027-01-31'],
  }).action(
    act(io, async (session, _options, [profile = '', snapshot = '', date = '']) => {
      const body = { until: endOf(date) }
      const path = await holdPath(session, profile, snapshot)
      const held = await session.api.request('PUT', path, parseSnapshotView, { body })
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
    examples: ['strongroom hold end nightly 6f3c09e1'],
  }).action(
    act(io, async (session, _options, [profile = '', snapshot = '']) => {
      const path = await holdPath(session, profile, snapshot)
      const freed = await session.api.request('DELETE', path, parseSnapshotView)
      session.result('snapshot', { profile, ...freed }, `${freed.snapshot} is no longer held\n`)
    }),
  )
  parent.addCommand(command)
}

async function holdPath(session: Session, profile: string, typed: string): Promise<string> {
  return `${snapshotsPath(profile)}/${await findSnapshot(session, profile, typed)}/hold`
}

/** `2027-01-31` as its midnight. What the calendar has not is refused: JavaScript takes February 31st for March 3rd. */
function endOf(date: string): string {
  const time = new Date(`${date}T00:00:00Z`)
  if (Number.isNaN(time.getTime()) || time.toISOString().slice(0, 10) !== date)
    throw new CliError('CLI_USAGE', 'a hold ends at a date like 2027-01-31')
  return time.toISOString()
}
