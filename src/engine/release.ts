import type { Milliseconds } from '../base/brand.ts'
import { toHex } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { parseDigest, type VmName } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { ReleaseRequest } from '../hsm/passphrase-service.ts'
import type { Purpose } from '../ledger/entry.ts'
import type { Job } from '../qrexec/calls/orders.ts'
import { QrexecError } from '../qrexec/errors.ts'
import type { EnginePorts, SealedConfiguration } from './ports.ts'

/** A person may have to approve; past this the HSM VM refuses a request that was kept back. */
const requestValidMilliseconds: Milliseconds = 10 * 60 * 1000

/** An HSM VM that is just restarting answers within half a minute. */
const attemptsMax = 12
const pauseMilliseconds: Milliseconds = 2_500

export interface PassphraseWanted {
  readonly configuration: SealedConfiguration
  readonly job: Job
  readonly hsmVm: VmName
  readonly epoch: number
  readonly purpose: Purpose
  /** A person is being asked. */
  readonly onWaiting: () => void
}

type ReleasePorts = Pick<EnginePorts, 'environment' | 'ledger' | 'passphrases' | 'log'>

/**
 * Asks the HSM VM for the passphrase of one job. Each request is in the ledger before it is made, and its answer after.
 * A refusal is thrown as it came; the caller records it as the end of the job. An HSM VM that cannot be reached, or is busy, is asked
 * again, with a new request: of the old one nobody knows whether it arrived.
 */
export async function releasePassphrase(
  ports: ReleasePorts,
  wanted: PassphraseWanted,
  signal: AbortSignal,
): Promise<Secret> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await ask(ports, wanted, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (attempt >= attemptsMax || !isAway(error)) throw error
      ports.log.warn('the HSM VM does not answer; asking again', { job: wanted.job.id, attempt, error })
    }
    await ports.environment.clock.sleep(pauseMilliseconds, signal)
  }
}

/** The VM or the way to it is missing, or it has not come to look; everything else the HSM VM itself says is final. */
function isAway(error: unknown): boolean {
  if (error instanceof QrexecError)
    return error.code === 'QREXEC_UNREACHABLE' || error.code === 'QREXEC_ANSWER_INVALID'
  return error instanceof CodedError && error.code === 'HSM_BUSY'
}

async function ask(ports: ReleasePorts, wanted: PassphraseWanted, signal: AbortSignal): Promise<Secret> {
  const { configuration, job, hsmVm, epoch, purpose } = wanted
  const { clock, entropy } = ports.environment
  const { id, profile, initiator } = job
  const now = clock.now()
  const request: ReleaseRequest = {
    type: 'release-request',
    time: now,
    job: id,
    profile,
    purpose,
    initiator,
    configuration: configuration.digest,
    epoch,
    expires: new Date(now.getTime() + requestValidMilliseconds),
    nonce: parseDigest(toHex(entropy.bytes(32))),
  }
  const entry = await ports.ledger.append([request])
  const passphrase = await ports.passphrases(hsmVm).release(request, entry, signal, wanted.onWaiting)
  try {
    const time = clock.now()
    await ports.ledger.append([{ type: 'release', time, job: id, profile, purpose, request: entry }])
  } catch (error) {
    passphrase.dispose()
    throw error
  }
  return passphrase
}
