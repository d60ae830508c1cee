import type { Command, Commands } from '../../src/host/commands.ts'
import { HostError } from '../../src/host/errors.ts'

/** What a program said once, in place of running it: its output, or what went wrong. */
export type Recorded = string | HostError

export interface RecordedCommands extends Commands {
  /** Program and arguments of what was run, in order. */
  readonly run: readonly string[]
}

/** Answers each command from a record; in small parts, as from a pipe. */
export function recordedCommands(answer: (line: string, command: Command) => Recorded): RecordedCommands {
  const run: string[] = []
  return {
    run,
    async *output(command, signal) {
      signal.throwIfAborted()
      const line = [command.program, ...command.arguments].join(' ')
      run.push(line)
      const recorded = answer(line, command)
      if (recorded instanceof HostError) throw recorded
      const bytes = Buffer.from(recorded)
      for (let at = 0; at < bytes.byteLength; at += 100) yield bytes.subarray(at, at + 100)
    },
  }
}
