import { parseProfileName } from '../base/names.ts'
import { epochDestroyed } from '../qrexec/calls/epochs.ts'
import { type Handler, respond } from '../qrexec/server.ts'
import { recordDestroyed } from './epochs.ts'
import type { EnginePorts } from './ports.ts'

/** dom0's side of what the HSM VM tells. */
export function serveEpochs(ports: EnginePorts): Record<string, Handler> {
  return {
    [epochDestroyed.service]: respond(epochDestroyed, async ({ epoch }, { source, argument }) => ({
      entry: await recordDestroyed(ports, { profile: parseProfileName(argument), epoch, source }),
    })),
  }
}
