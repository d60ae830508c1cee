import { errnoOf, errorKinds, reportOf } from '../base/errors.ts'
import { createLog } from '../base/log.ts'

/*
 * Imported first by every entry: what nobody caught ends the process with a message, a hint and the exit status of its
 * kind, never with a bare stack. A service that ends so is started anew by its supervisor.
 */

process.on('uncaughtException', error => {
  if (errnoOf(error)?.startsWith('ERR_PARSE_ARGS_')) {
    console.error(`error: ${error.message}\nhint: see --help`)
    process.exit(errorKinds.usage.exit)
  }
  const { code, kind, message, hint } = reportOf(error)
  if (code === 'INTERNAL') createLog('strongroom').error('unexpected', { error })
  console.error(`error: ${message} (${code})\nhint: ${hint}`)
  process.exit(errorKinds[kind].exit)
})
