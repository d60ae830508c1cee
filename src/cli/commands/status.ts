import type { JobView, StatusView } from '../../api/schemas.ts'
import { printable } from '../../base/errors.ts'
import { bytesText, countText, dayMilliseconds } from '../../base/quantities.ts'
import { parseStatusView } from '../answers.ts'
import { phaseText } from '../progress.ts'
import { table, timeText } from '../render.ts'
import type { Session } from '../session.ts'
import { type AddCommand, act, describe } from './command.ts'

export const addStatus: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'status',
    summary: 'what is configured, running, due and wrong',
    examples: ['strongroom status', 'strongroom status --json | jq .alarms'],
  }).action(
    act(io, async session => {
      const status = await session.api.request('GET', '/v1/status', parseStatusView)
      session.result('status', status, textOf(status, session))
    }),
  )
  parent.addCommand(command)
}

function textOf(status: StatusView, { style }: Session): string {
  const { alarms, running, profiles } = status
  const verdict = alarms.length === 0 ? style.good('no alarms') : style.bad(countText(alarms.length, 'alarm'))
  const parts = [
    `${style.strong(verdict)}\n`,
    ...alarms.map(alarm => `  ${alarmText(alarm)}\n`),
    systemText(status),
  ]
  if (running.length > 0)
    parts.push('\n', table(['RUNNING', 'PROFILE', 'KIND', 'PHASE', 'DONE'], running.map(runningRow)))
  if (profiles.length > 0)
    parts.push(
      '\n',
      table(
        ['PROFILE', 'LAST BACKUP', 'LAST SUCCESS', 'LAST CHECK', 'OLDEST UNREAD', 'NEXT RUN'],
        profiles.map(profile => profileRow(profile, status.time)),
      ),
    )
  return parts.join('')
}

function alarmText({ code, message, time, profile }: StatusView['alarms'][number]): string {
  const subject = profile === null ? '' : `${profile}: `
  return printable(`${timeText(time)}  ${subject}${message} [${code}]`)
}

function systemText({ dom0, configuration, ledger, machine }: StatusView): string {
  const lines = [
    dom0.reachable ? 'dom0           answers' : `dom0           does not answer [${dom0.code ?? 'INTERNAL'}]`,
  ]
  if (configuration !== null)
    lines.push(`configuration  version ${configuration.version}, ${configuration.digest.slice(0, 12)}`)
  if (ledger !== null)
    lines.push(`ledger         ${ledger.size} entries, ${ledger.state}, seen ${timeText(ledger.seen)}`)
  if (machine !== null) lines.push(`attestation    ${machine.state}, ${timeText(machine.time)}`)
  return lines.map(line => `${printable(line)}\n`).join('')
}

function runningRow(job: JobView): readonly string[] {
  const { id, profile, kind, progress } = job
  const { bytesDone, bytesTotal } = progress
  return [
    id,
    profile,
    kind,
    phaseText(job),
    bytesTotal === 0 ? '-' : `${bytesText(bytesDone)} of ${bytesText(bytesTotal)}`,
  ]
}

function profileRow(profile: StatusView['profiles'][number], now: string): readonly string[] {
  const { name, lastBackup, lastSuccess, lastCheck, unreadSince, nextRun } = profile
  return [
    name,
    endText(lastBackup),
    timeText(lastSuccess),
    endText(lastCheck),
    unreadSince === null ? '-' : daysText(unreadSince, now),
    timeText(nextRun),
  ]
}

/** How long the data that was left alone for the longest time has not been read. */
function daysText(since: string, now: string): string {
  const days = Math.floor((Date.parse(now) - Date.parse(since)) / dayMilliseconds)
  return `${days} ${days === 1 ? 'day' : 'days'}`
}

function endText(job: JobView | null): string {
  return job === null ? '-' : `${job.state} ${timeText(job.ended)}`
}
