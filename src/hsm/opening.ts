import type { ProfileName } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { type HsmBinding, sealedEpochs } from '../profiles/binding.ts'
import { openWithToken } from './envelope.ts'
import { HsmError } from './errors.ts'
import type { WitnessToken } from './ledger-witness.ts'
import type { HsmStore } from './store.ts'
import { type TokenKey, tokenKey, type UnwrappingToken } from './token-key.ts'
import type { TokenPublicKeys } from './token-protocol.ts'

/** What a release needs of the token; `TokenProcess` is one. */
export type HsmToken = WitnessToken & UnwrappingToken

/** Whose digest is sealed for the epoch. Throws `HSM_REFUSED_PROFILE`, and as `EnvelopeStore.sealed`. */
export function sealedEnvelope(
  { envelopes }: Pick<HsmStore, 'envelopes'>,
  profile: ProfileName,
  binding: HsmBinding | null,
  epoch: number,
): Promise<Untrusted<Uint8Array>> {
  const sealed = binding === null ? [] : sealedEpochs(binding)
  const found = sealed.find(one => one.epoch === epoch)
  if (found === undefined)
    throw new HsmError('HSM_REFUSED_PROFILE', `there is no such epoch of a profile '${profile}'`)
  return envelopes.sealed(profile, found.epoch, found.envelope)
}

export function wrappingKey({ wrapping }: TokenPublicKeys, token: HsmToken, signal: AbortSignal): TokenKey {
  return tokenKey(wrapping, token, signal)
}

/** Nothing is handed over once the call has ended. */
export async function opened(
  envelope: Untrusted<Uint8Array>,
  key: TokenKey,
  signal: AbortSignal,
): Promise<Secret> {
  const passphrase = await openWithToken(envelope, key)
  if (!signal.aborted) return passphrase
  passphrase.dispose()
  throw signal.reason
}
