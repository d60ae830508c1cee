import type { JobView } from '../api/schemas.ts'
import type { Clock } from '../base/environment.ts'
import { amountText, bytesText, rateMeter } from '../base/quantities.ts'
import type { CliOutput } from './io.ts'

const barColumnsMax = 30
const columnsMin = 40
const stepsPerJob = 10

/** What the bytes of a phase are bytes of. */
const counted: Partial<Record<JobView['progress']['phase'], string>> = {
  reading: 'volumes',
  restoring: 'volumes',
  checking: 'packs',
  scrubbing: 'objects',
  rewriting: 'packs',
  removing: 'objects',
}

/** What a job waits for. */
const awaited: Partial<Record<JobView['progress']['phase'], string>> = {
  battery: 'waiting for mains power',
  approval: 'waiting for approval in the HSM VM (code: the end of the job’s number)',
  metered: 'waiting for a network that is not metered',
}

export function phaseText({ progress: { phase, uploadBytesPerSecond } }: JobView): string {
  const what = counted[phase]
  const limit =
    uploadBytesPerSecond === undefined ? '' : `, sent at ${bytesText(uploadBytesPerSecond)}/s at most`
  return what === undefined ? (awaited[phase] ?? phase) : `${phase} ${what}${limit}`
}

export interface ProgressDisplay {
  show(job: JobView): void
  /** Clears what stays on one line of a terminal. */
  end(): void
}

/** A bar with rate and remaining time on a terminal; elsewhere a line at each phase and each tenth. */
export function progressDisplay(output: CliOutput, clock: Clock): ProgressDisplay {
  return output.isTerminal ? terminalBar(output, clock) : plainLines(output)
}

export const noProgress: ProgressDisplay = { show() {}, end() {} }

function terminalBar(output: CliOutput, clock: Clock): ProgressDisplay {
  const rate = rateMeter(clock)
  const clear = '\r\u001b[K'
  return {
    show(job) {
      const { bytesDone, bytesTotal } = job.progress
      const head = `${job.kind} ${job.profile}: ${phaseText(job)}`
      if (bytesTotal === 0) return output.write(`${clear}${head}`.slice(0, output.columns))
      const tail = `${percent(job)} %  ${amountText(bytesDone, bytesTotal, rate(bytesDone))}`
      const room = Math.max(columnsMin, output.columns) - head.length - tail.length - 7
      const bar = room < 5 ? '' : `[${barOf(job, Math.min(room, barColumnsMax))}]  `
      output.write(`${clear}${`${head}  ${bar}${tail}`.slice(0, output.columns - 1)}`)
    },
    end: () => output.write(clear),
  }
}

function plainLines(output: CliOutput): ProgressDisplay {
  let shown = ''
  return {
    show(job) {
      const { phase, bytesDone, bytesTotal } = job.progress
      const step = bytesTotal === 0 ? 0 : Math.floor((bytesDone / bytesTotal) * stepsPerJob)
      const state = `${phase} ${step}`
      if (state === shown) return
      shown = state
      const amount =
        bytesTotal === 0 ? '' : `, ${bytesText(bytesDone)} of ${bytesText(bytesTotal)} (${percent(job)} %)`
      output.write(`${job.kind} ${job.profile}: ${phaseText(job)}${amount}\n`)
    },
    end() {},
  }
}

function percent({ progress: { bytesDone, bytesTotal } }: JobView): number {
  return bytesTotal === 0 ? 0 : Math.min(100, Math.floor((bytesDone / bytesTotal) * 100))
}

function barOf(job: JobView, columns: number): string {
  const full = Math.floor((percent(job) / 100) * columns)
  return `${'#'.repeat(full)}${'-'.repeat(columns - full)}`
}
