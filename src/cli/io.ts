import type { Clock } from '../base/environment.ts'

export interface CliOutput {
  write(text: string): void
  readonly isTerminal: boolean
  /** Width of the terminal in columns. */
  readonly columns: number
}

/** Everything that the command line touches of its process, so that it can be tried without one. */
export interface CliIo {
  /** Results only, so that they can be piped. */
  readonly stdout: CliOutput
  /** Progress, warnings, errors. */
  readonly stderr: CliOutput
  /** Environment variables; paths and taste, never secrets. */
  readonly variables: Readonly<Record<string, string | undefined>>
  readonly clock: Clock
  /** Calls back at Ctrl-C, in place of ending the process; the answer undoes it. */
  onInterrupt(listener: () => void): () => void
}

const columnsDefault = 80

/** The parts of node's process, for whoever starts one. */
export function processIo(process: NodeJS.Process, clock: Clock): CliIo {
  // A reader that has seen enough (`| head`) is no error.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => process.exit())
  return {
    stdout: output(process.stdout),
    stderr: output(process.stderr),
    variables: process.env,
    clock,
    onInterrupt: listener => {
      process.on('SIGINT', listener)
      return () => process.off('SIGINT', listener)
    },
  }
}

function output(stream: NodeJS.WriteStream): CliOutput {
  return {
    write: text => void stream.write(text),
    isTerminal: stream.isTTY === true,
    get columns() {
      return stream.columns ?? columnsDefault
    },
  }
}
