import type { Clock } from '../base/environment.ts'
import type { OpenPrunableStorage, ScrubStorage } from '../engine/ports.ts'
import type { Transport } from '../qrexec/call.ts'
import { storageObjects, storageScrub } from '../qrexec/calls/storage.ts'
import { pacedStream } from '../storage/paced-stream.ts'
import { reconnecting } from '../storage/reconnect.ts'
import { connectStorage } from '../storage/remote.ts'
import { retrying, withRetry } from '../storage/retry.ts'
import { scrubOver } from '../storage/scrub-remote.ts'

/** A storage VM may be restarting: with the pauses between them this is half a minute of patience. */
const attemptsMax = 9

/** A job's way to a repository. It ends with the job's signal, whatever is under way, connecting included. */
export function dom0Storage(transport: Transport, clock: Clock): OpenPrunableStorage {
  return async (vm, repository, upload, signal) => {
    const connect = async (either: AbortSignal) => {
      const stream = await transport.open(storageObjects.service, repository, vm, either)
      return connectStorage(pacedStream(stream, upload))
    }
    const store = reconnecting(connect, signal)
    return Object.assign(withRetry(store, clock, attemptsMax), {
      [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
    })
  }
}

/** Begun again after the connection broke, a scrub continues where it was. */
export function dom0Scrub(transport: Transport, clock: Clock): ScrubStorage {
  return (vm, repository, onProgress, signal) => {
    const open = (either: AbortSignal) => transport.open(storageScrub.service, repository, vm, either)
    return retrying(() => scrubOver(open, clock, onProgress, signal), clock, attemptsMax, signal)
  }
}
