import { BaseError } from '../base/base-errors.ts'
import { equalConstantTime } from '../base/bytes.ts'
import { Untrusted } from '../base/untrusted.ts'
import { LedgerError, WitnessConflict } from '../ledger/errors.ts'
import { verifierKey } from '../ledger/note.ts'
import { cosign } from '../ledger/signing.ts'
import { verifyEntry } from '../ledger/verify.ts'
import { examine, type WitnessState } from '../ledger/witness.ts'
import type { Roles } from '../profiles/roles.ts'
import type { ReleaseCall, WitnessAhead, WitnessCall } from '../qrexec/calls/release.ts'
import { HsmError } from './errors.ts'
import type { TokenPublicKeys } from './token-protocol.ts'

/*
 * The HSM VM as a witness of dom0's ledger: it follows one ledger, and cosigns only what continues it. Whoever calls
 * remembers that before the cosignature leaves.
 */

/** The names under which dom0 and this VM sign; the keys are in the sealed configuration. */
export interface LedgerNames {
  readonly origin: string
  readonly witness: string
}

/** What the token does for a witness. */
export interface WitnessToken {
  publicKeys(signal: AbortSignal): Promise<TokenPublicKeys>
  sign(message: Uint8Array, signal: AbortSignal): Promise<Uint8Array>
}

/**
 * The state after the checkpoint, or where the proof has to start from. Throws `HSM_REFUSED_LEDGER`, with the ledger's
 * own reason as its cause.
 */
export function examineCheckpoint(
  state: WitnessState | null,
  { checkpoint, consistency }: WitnessCall,
  roles: Roles,
  { origin }: LedgerNames,
): WitnessState | WitnessAhead {
  const submission = {
    checkpoint: new Untrusted(checkpoint),
    fromSize: consistency.from,
    proof: consistency.proof,
  }
  try {
    return examine(state, submission, verifierKey(origin, 'ed25519', roles.keys.dom0))
  } catch (error) {
    if (error instanceof WitnessConflict) return { witnessSize: error.size }
    throw refused(error)
  }
}

/** That the request stands in the ledger whose head is `state`. Throws `HSM_REFUSED_LEDGER`. */
export function requireRecorded({ entry, index, inclusion }: ReleaseCall, state: WitnessState): void {
  try {
    verifyEntry(entry, index, inclusion, state)
  } catch (error) {
    throw refused(error)
  }
}

/** Signs `state` with the token, whose public keys are `keys`. Throws `HSM_KEY_OTHER`, or what the token throws. */
export async function cosignState(
  state: WitnessState,
  { token, keys, now }: { token: WitnessToken; keys: TokenPublicKeys; now: Date },
  roles: Roles,
  { witness }: LedgerNames,
  signal: AbortSignal,
): Promise<string> {
  const publicKey = witnessKey(keys, roles)
  const signer = { publicKey, sign: (message: Uint8Array) => token.sign(message, signal) }
  try {
    return await cosign(state, witness, signer, now)
  } catch (error) {
    // The ledger says only that the signer failed; the token said why.
    throw error instanceof LedgerError && error.cause !== undefined ? error.cause : error
  }
}

function witnessKey({ witness }: TokenPublicKeys, roles: Roles): Uint8Array {
  if (witness === null)
    throw new HsmError('HSM_KEY_MISSING', 'the token has no witness key', {
      hint: 'only a token that does Ed25519 can witness the ledger; another one can be named in the settings',
    })
  if (!equalConstantTime(witness, roles.keys.hsm))
    throw new HsmError('HSM_KEY_OTHER', "dom0 would not accept a cosignature by this token's witness key")
  return witness
}

function refused(cause: unknown): unknown {
  if (!(cause instanceof LedgerError || cause instanceof BaseError)) return cause
  return new HsmError('HSM_REFUSED_LEDGER', `${cause.code}: ${cause.message}`, { cause })
}
