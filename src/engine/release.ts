import type { Milliseconds } from '../base/brand.ts'
import { toHex } from '../base/bytes.ts'
import { parseDigest, type VmName } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { ReleaseRequest } from '../hsm/passphrase-service.ts'
import type { Purpose } from '../ledger/entry.ts'
import type { Job } from '../qrexec/calls/orders.ts'
import type { EnginePorts, SealedConfiguration } from './ports.ts'

/** A person may have to approve; past this the HSM VM refuses a request that was kept back. */
const requestValidMilliseconds: Milliseconds = 10 * 60 * 1000

/**
 * Asks the HSM VM for the passphrase of one job. The request is in the ledger before it is made, and its answer after.
 * A refusal is thrown as it came; the caller records it as the end of the job.
 */
export async function releasePassphrase(
  ports: Pick<EnginePorts, 'environment' | 'ledger' | 'passphrases'>,
  configuration: SealedConfiguration,
  job: Job,
  hsmVm: VmName,
  epoch: number,
  purpose: Purpose,
  signal: AbortSignal,
): Promise<Secret> {
  const { clock, entropy } = ports.environment
  const now = clock.now()
  const request: ReleaseRequest = {
    type: 'release-request',
    time: now,
    job: job.id,
    profile: job.profile,
    purpose,
    initiator: job.initiator,
    configuration: configuration.digest,
    epoch,
    expires: new Date(now.getTime() + requestValidMilliseconds),
    nonce: parseDigest(toHex(entropy.bytes(32))),
  }
  const entry = await ports.ledger.append([request])
  const passphrase = await ports.passphrases(hsmVm).release(request, entry, signal)
  try {
    const { id, profile } = job
    await ports.ledger.append([
      { type: 'release', time: clock.now(), job: id, profile, purpose, request: entry },
    ])
  } catch (error) {
    passphrase.dispose()
    throw error
  }
  return passphrase
}
