import { parseProfileName } from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import { epochDestroyed } from '../qrexec/calls/epochs.ts'
import { type Handler, respond } from '../qrexec/server.ts'
import { recordDestroyed } from './epochs.ts'
import type { EnginePorts } from './ports.ts'

/** dom0's side of what the HSM VM tells. */
export function serveEpochs(ports: EnginePorts): Record<string, Handler> {
  // Two at once would be two entries.
  const one = new Serially()
  return {
    [epochDestroyed.service]: respond(epochDestroyed, async ({ epoch }, { source, argument }) => {
      const profile = parseProfileName(argument)
      return { entry: await one.run(() => recordDestroyed(ports, { profile, epoch, source })) }
    }),
  }
}
