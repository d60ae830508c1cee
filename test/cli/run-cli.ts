import { systemClock } from '../../src/base/environment.ts'
import { processIo } from '../../src/cli/io.ts'
import { runCli } from '../../src/cli/program.ts'

/** The command line as a process of its own. */
process.exitCode = await runCli(process.argv.slice(2), processIo(process, systemClock))
