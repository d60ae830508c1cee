import type { Duplex } from 'node:stream'
import { BaseError } from '../base/base-errors.ts'
import type { Milliseconds } from '../base/brand.ts'
import { parseJson } from '../base/json.ts'
import { dom0, type ProfileName } from '../base/names.ts'
import { StreamReader } from '../base/reader.ts'
import type { Call, Transport } from '../qrexec/call.ts'
import { attestMachine } from '../qrexec/calls/attest.ts'
import { cosignLedger, readLedger } from '../qrexec/calls/ledger.ts'
import {
  cancelJob,
  endHold,
  holdSnapshot,
  type Job,
  jobEvents,
  listJobs,
  listProfiles,
  listSnapshots,
  orderBackup,
  orderCheck,
  orderDrill,
  orderPrune,
  orderRestore,
  orderScrub,
  parseJob,
  readDrillReport,
} from '../qrexec/calls/orders.ts'
import { callOver } from '../qrexec/client.ts'
import { QrexecError } from '../qrexec/errors.ts'
import type { Dom0Port } from './dom0.ts'

const answerMilliseconds: Milliseconds = 30_000
const eventBytesMax = 64 * 1024
const lineFeed = 0x0a

/** dom0 as reached over qrexec. */
export function dom0Over(transport: Transport): Dom0Port {
  const ask = <Request, Response>(
    call: Call<Request, Response>,
    argument: string,
    request: Request,
    signal: AbortSignal,
  ): Promise<Response> =>
    callOver(transport, call, dom0, argument, request, signal, answerMilliseconds).catch(rethrow)
  return {
    backup: (profile, key, wanted, signal) => ask(orderBackup, profile, { ...wanted, key }, signal),
    check: (profile, key, read, signal) => ask(orderCheck, profile, { key, read }, signal),
    scrub: (profile, key, signal) => ask(orderScrub, profile, { key }, signal),
    restore: (profile, key, snapshot, choice, signal) =>
      ask(orderRestore, profile, { key, snapshot, choice }, signal),
    drill: (profile, key, snapshot, signal) => ask(orderDrill, profile, { key, snapshot }, signal),
    drillReport: (job, signal) => ask(readDrillReport, job, undefined, signal),
    prune: (profile, key, dryRun, signal) => ask(orderPrune, profile, { key, dryRun }, signal),
    cancel: (job, signal) => ask(cancelJob, job, undefined, signal),
    jobs: signal => ask(listJobs, '', undefined, signal),
    snapshots: (profile, signal) => ask(listSnapshots, profile, undefined, signal),
    hold: (profile, snapshot, until, signal) => ask(holdSnapshot, profile, { snapshot, until }, signal),
    endHold: (profile, snapshot, signal) => ask(endHold, profile, { snapshot }, signal),
    profiles: signal => ask(listProfiles, '', undefined, signal),
    events: (profile, signal) => openEvents(transport, profile, signal),
    ledger: (from, signal) => ask(readLedger, '', { from }, signal),
    cosign: (cosignature, signal) => ask(cosignLedger, '', cosignature, signal),
    attest: (question, signal) => ask(attestMachine, '', question, signal),
  }
}

async function* openEvents(
  transport: Transport,
  profile: ProfileName,
  signal: AbortSignal,
): AsyncGenerator<Job> {
  const stream = await transport.open(jobEvents.service, profile, dom0, signal)
  try {
    stream.end()
    yield* readEvents(stream)
  } finally {
    stream.destroy()
  }
}

async function* readEvents(stream: Duplex): AsyncGenerator<Job> {
  const reader = new StreamReader(stream)
  while (true) {
    const line = await lineOrEnd(reader)
    if (line === null) return
    yield parseEvent(line)
  }
}

function parseEvent(untrustedLine: Uint8Array): Job {
  try {
    return parseJob(parseJson(untrustedLine, { bytesMax: eventBytesMax }))
  } catch (error) {
    return rethrow(error)
  }
}

/** A malformed answer is dom0's fault, not that of whoever made the request: another kind of error. */
function rethrow(error: unknown): never {
  if (error instanceof BaseError && error.kind === 'usage')
    throw new QrexecError('QREXEC_ANSWER_INVALID', 'dom0 answered with something that is no answer', {
      cause: error,
    })
  throw error
}

/** A stream that ends is the far side's way to stop; the one who follows asks again. */
async function lineOrEnd(reader: StreamReader): Promise<Uint8Array | null> {
  try {
    return await reader.until(lineFeed, eventBytesMax)
  } catch (error) {
    if (error instanceof BaseError && error.code === 'STREAM_ENDED') return null
    return rethrow(error)
  }
}
