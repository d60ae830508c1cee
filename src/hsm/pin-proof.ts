import type { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'
import { givenPin, type PinSource } from './pin.ts'
import { type PinRefusals, refusalsInMemory } from './pin-refusals.ts'
import { tokenRecipient } from './recipients.ts'
import { requireWrappingKey } from './token-key.ts'
import type { TokenProcess } from './token-process.ts'

/**
 * That a PIN is the token's. Throws `HSM_PIN_WRONG`, also for one that this service has seen refused, which is not sent again;
 * `HSM_PIN_LAST_TRY`, `HSM_PIN_LOCKED`; `HSM_KEY_OTHER` where the token is not the one that the service opens envelopes with.
 */
export type ProvePin = (pin: Secret, signal: AbortSignal) => Promise<void>

/**
 * By a login in a process of its own: the one that works has logged in already, and a token takes any PIN there. `open`: the same
 * token with another PIN, and with this memory of refused ones, apart from that of the service's own PIN: somebody who guesses must
 * not keep the service from its token. Like that one it lets no more through after eight wrong ones without a right one.
 */
export function pinProof(
  service: Pick<TokenProcess, 'publicKeys'>,
  open: (login: { readonly pin: PinSource; readonly refusals: PinRefusals }) => TokenProcess,
): ProvePin {
  const refusals = refusalsInMemory()
  return async (pin, signal) => {
    const wrapping = async (token: Pick<TokenProcess, 'publicKeys'>) =>
      tokenRecipient(requireWrappingKey((await token.publicKeys(signal)).wrapping)).text
    const expected = await wrapping(service)
    using token = open({ pin: givenPin(pin), refusals })
    // A public key can be copied into another token, whose PIN anybody may choose: the private half is tried too.
    if ((await wrapping(token)) === expected && (await token.describe(signal)).opens !== null) return
    throw new HsmError('HSM_KEY_OTHER', 'the PIN is of a token that has not the wrapping key of this service')
  }
}
