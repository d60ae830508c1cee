import { BaseError } from '../base/base-errors.ts'
import { errorKinds, reportOf } from '../base/errors.ts'
import { createLog } from '../base/log.ts'

/** A command's answer: one object for programs, lines for people. */
export interface Answer {
  readonly result: unknown
  readonly text: readonly string[]
  /** Of the exit, when what was found is a fault; 0 where absent. */
  readonly status?: number
}

/** Runs one command, prints its answer or its error, and sets the exit status from the error's kind. */
export async function runCommand(
  json: boolean | undefined,
  work: (signal: AbortSignal) => Promise<Answer>,
): Promise<void> {
  const controller = new AbortController()
  process.once('SIGINT', () => controller.abort())
  try {
    const { result, text, status = 0 } = await work(controller.signal)
    console.log(json ? JSON.stringify({ v: 1, type: 'result', result }) : text.join('\n'))
    process.exitCode = status
  } catch (error) {
    const { code, kind, message, hint } = reportOf(error)
    if (code === 'INTERNAL') createLog('strongroom').error('unexpected', { error })
    process.exitCode = errorKinds[kind].exit
    if (json) console.error(JSON.stringify({ v: 1, type: 'error', code, message, hint }))
    else console.error(`error: ${message} (${code})\nhint: ${hint}`)
  }
}

/** An operand or option without which a command cannot be understood. Throws `FIELD_INVALID`. */
export function missing(what: string): never {
  throw new BaseError('FIELD_INVALID', `${what} is missing`, { hint: 'see the command with --help' })
}
