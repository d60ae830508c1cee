import type { Clock } from '../base/environment.ts'
import type { OpenPrunableStorage } from '../engine/ports.ts'
import type { Transport } from '../qrexec/call.ts'
import { storageObjects } from '../qrexec/calls/storage.ts'
import { reconnecting } from '../storage/reconnect.ts'
import { connectStorage } from '../storage/remote.ts'
import { withRetry } from '../storage/retry.ts'

/** A storage VM may be restarting: with the pauses between them this is half a minute of patience. */
const attemptsMax = 9

/** A job's way to a repository. It ends with the job's signal, whatever is under way, connecting included. */
export function dom0Storage(transport: Transport, clock: Clock): OpenPrunableStorage {
  return async (vm, repository, signal) => {
    const connect = async (either: AbortSignal) =>
      connectStorage(await transport.open(storageObjects.service, repository, vm, either))
    const store = reconnecting(connect, signal)
    return Object.assign(withRetry(store, clock, attemptsMax), {
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    })
  }
}
