import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'

/** What was asked for makes no sense; told in one line, with status 2. */
export class UsageError extends Error {}

/**
 * The options of a benchmark, and what `check` makes of them. Ends the process for `--help`, and with status 2 when they make no
 * sense.
 */
export function readOptions<const O extends ParseArgsOptionsConfig, T>(
  help: string,
  options: O,
  check: (values: ReturnType<typeof parseArgs<{ options: O }>>['values']) => T,
): T {
  try {
    if (process.argv.includes('--help')) {
      process.stdout.write(help)
      process.exit(0)
    }
    return check(parseArgs({ options }).values)
  } catch (error) {
    const { code } = error as { readonly code?: string }
    if (!(error instanceof UsageError) && !code?.startsWith('ERR_PARSE_ARGS')) throw error
    refuse((error as Error).message)
  }
}

/** Ends the process with status 2. */
export function refuse(message: string): never {
  process.stderr.write(`bench: ${message}\nSee --help\n`)
  process.exit(2)
}

/** What one process of a benchmark does; ends it with status 2 when there is no such step. */
export function stepOf<T>(steps: Readonly<Record<string, T>>, name: string): T {
  return steps[name] ?? refuse(`there is no step '${name}'; there are ${Object.keys(steps).join(', ')}`)
}
