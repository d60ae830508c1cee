import type { Digest } from '../../base/names.ts'
import type { SignedAttest } from './attest.ts'
import type { PcrValues } from './pcrs.ts'

/** The TPM of this machine, as measuring needs it. */
export interface MeasuringDevice {
  extend(pcr: number, digest: Uint8Array, signal: AbortSignal): Promise<void>
  read(pcrs: readonly number[], signal: AbortSignal): Promise<PcrValues>
  /** SHA-256 in the name of the key that signs the statements. */
  key(signal: AbortSignal): Promise<Digest>
  /** Statements over the same nonce, by the same key; no counter without an index. */
  state(
    nonce: Uint8Array,
    pcrs: readonly number[],
    signal: AbortSignal,
  ): Promise<{ readonly quote: SignedAttest; readonly counter: SignedAttest | null }>
}
