import { toHex } from '../../base/bytes.ts'
import { type Digest, parseDigest } from '../../base/names.ts'
import type { Secret } from '../../base/secret.ts'
import type { SignedAttest } from '../public/attest.ts'
import type { PcrValues } from '../public/pcrs.ts'
import { withLoaded } from './command.ts'
import type { TpmCounter } from './counter.ts'
import { createAttestationKey, type LoadedKey } from './keys.ts'
import { extendPcr, readPcrs } from './pcrs.ts'
import { quotePcrs } from './quote.ts'
import type { Tpm } from './tpm.ts'

/* What a machine needs of its TPM in order to measure itself and to answer for it. */

export interface MeasuringTpm {
  extend(pcr: number, digest: Uint8Array, signal: AbortSignal): Promise<void>
  read(pcrs: readonly number[], signal: AbortSignal): Promise<PcrValues>
  key(signal: AbortSignal): Promise<Digest>
  state(
    nonce: Uint8Array,
    pcrs: readonly number[],
    signal: AbortSignal,
  ): Promise<{ readonly quote: SignedAttest; readonly counter: SignedAttest | null }>
}

/** `endorsementPassword` is the one of that hierarchy; most machines have none. */
export function measuringDevice(
  tpm: Tpm,
  counter: TpmCounter | null = null,
  endorsementPassword: Secret | null = null,
): MeasuringTpm {
  const withKey = async <T>(signal: AbortSignal, use: (key: LoadedKey) => Promise<T>): Promise<T> =>
    withLoaded(tpm, await createAttestationKey(tpm, endorsementPassword, signal), use)
  return {
    extend: (pcr, digest, signal) => extendPcr(tpm, pcr, digest, signal),
    read: (pcrs, signal) => readPcrs(tpm, pcrs, signal),
    key: signal => withKey(signal, async ({ area }) => parseDigest(toHex(area.name.subarray(2)))),
    state: (nonce, pcrs, signal) =>
      withKey(signal, async key => ({
        quote: await quotePcrs(tpm, key, nonce, pcrs, signal),
        counter: counter === null ? null : await counter.certify(key, nonce, signal),
      })),
  }
}
