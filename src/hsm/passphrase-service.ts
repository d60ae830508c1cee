import type { Secret } from '../base/secret.ts'
import type { EntryOf } from '../ledger/entry.ts'

/** What dom0 asks of the HSM VM: exactly the ledger entry that records the request. */
export type ReleaseRequest = EntryOf<'release-request'>

/**
 * What dom0 may ask of the HSM VM. The request is already in the ledger at `entry`; the implementation shows the HSM
 * VM a signed checkpoint that includes it, stores the cosignature, and only then has the passphrase. The caller owns
 * the secret and disposes of it when the job ends. Throws `HsmError` (refused, wrong PIN, token missing, deadline, …);
 * an abort withdraws the request.
 */
export interface PassphraseService {
  release(
    request: ReleaseRequest,
    entry: number,
    signal: AbortSignal,
    /** A person is being asked, and has not answered yet. */
    onWaiting?: () => void,
  ): Promise<Secret>
}
