import { toHex } from '../../base/bytes.ts'
import { parseDigest } from '../../base/names.ts'
import type { Secret } from '../../base/secret.ts'
import type { MeasuringDevice } from '../public/measuring-device.ts'
import { withLoaded } from './command.ts'
import type { TpmCounter } from './counter.ts'
import { createAttestationKey, type LoadedKey } from './keys.ts'
import { extendPcr, readPcrs } from './pcrs.ts'
import { quotePcrs } from './quote.ts'
import type { Tpm } from './tpm.ts'

/** `endorsementPassword` is the one of that hierarchy; most machines have none. */
export function measuringDevice(
  tpm: Tpm,
  counter: TpmCounter | null = null,
  endorsementPassword: Secret | null = null,
): MeasuringDevice {
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
