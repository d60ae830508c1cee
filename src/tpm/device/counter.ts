import { equalConstantTime } from '../../base/bytes.ts'
import type { Secret } from '../../base/secret.ts'
import { TpmError } from '../errors.ts'
import type { SignedAttest } from '../public/attest.ts'
import { algorithm, hierarchy } from '../public/constants.ts'
import { parseCounter } from '../public/counter.ts'
import { joined, nothing, sized, u16 } from '../public/marshal.ts'
import { counterLength, counterPublic } from '../public/nv-public.ts'
import { emptyPassword, run } from './command.ts'
import type { LoadedKey } from './keys.ts'
import { readNv, readNvPublic } from './nv.ts'
import { readStatement } from './quote.ts'
import type { Tpm } from './tpm.ts'

/*
 * A counter in the TPM's memory: it survives every disk, and nobody sets it back. Removed and made again it goes on above the
 * highest that any counter of this TPM has had.
 */

const code = {
  define: 0x12a,
  undefine: 0x122,
  increment: 0x134,
  certify: 0x184,
} as const
/** In the range of the TPM's owner (TCG Registry of Reserved TPM 2.0 Handles). */
export const counterIndexDefault = 0x01805347

export interface CounterSettings {
  readonly index?: number
  /** Of the owner hierarchy; `null` when it has none. */
  readonly ownerPassword?: Secret | null
}

export interface TpmCounter {
  /** Throws `TPM_NOT_FOUND` before `define`, `TPM_COUNTER_INVALID` when the index is not such a counter. */
  read(signal: AbortSignal): Promise<number>
  /** Gives the new value. */
  increment(signal: AbortSignal): Promise<number>
  /** Makes the counter and gives its first value: one above the highest that any counter of this TPM has had. */
  define(signal: AbortSignal): Promise<number>
  remove(signal: AbortSignal): Promise<void>
  /** The value, signed by the attestation key: for `verifyCounter`. */
  certify(key: LoadedKey, nonce: Uint8Array, signal: AbortSignal): Promise<SignedAttest>
}

export function tpmCounter(
  tpm: Tpm,
  { index = counterIndexDefault, ownerPassword = null }: CounterSettings = {},
): TpmCounter {
  const byOwner = { password: ownerPassword }

  const requireCounter = async (signal: AbortSignal): Promise<void> => {
    const area = await readNvPublic(tpm, index, signal)
    if (equalConstantTime(area, counterPublic(index, true))) return
    if (equalConstantTime(area, counterPublic(index, false)))
      throw new TpmError('TPM_NOT_FOUND', `counter 0x${index.toString(16)} was never counted up`)
    throw new TpmError(
      'TPM_COUNTER_INVALID',
      `index 0x${index.toString(16)} is no counter of the expected kind`,
    )
  }

  const read = async (signal: AbortSignal): Promise<number> => {
    await requireCounter(signal)
    return parseCounter(await readNv(tpm, index, { at: 0, length: counterLength }, signal))
  }

  const countUp = async (signal: AbortSignal): Promise<void> => {
    const handles = [hierarchy.owner, index]
    await run(tpm, { name: 'NV_Increment', code: code.increment, handles, authorisations: [byOwner] }, signal)
  }

  return {
    read,
    increment: async signal => {
      await requireCounter(signal)
      await countUp(signal)
      return read(signal)
    },
    define: async signal => {
      const command = {
        name: 'NV_DefineSpace',
        code: code.define,
        handles: [hierarchy.owner],
        authorisations: [byOwner],
        parameters: joined(sized(nothing), sized(counterPublic(index, false))),
      }
      await run(tpm, command, signal)
      await countUp(signal)
      return read(signal)
    },
    remove: async signal => {
      const handles = [hierarchy.owner, index]
      await run(
        tpm,
        { name: 'NV_UndefineSpace', code: code.undefine, handles, authorisations: [byOwner] },
        signal,
      )
    },
    certify: async ({ handle }, nonce, signal) => {
      const command = {
        name: 'NV_Certify',
        code: code.certify,
        handles: [handle, index, index],
        authorisations: [emptyPassword, emptyPassword],
        parameters: joined(sized(nonce), u16(algorithm.none), u16(counterLength), u16(0)),
      }
      return readStatement(await run(tpm, command, signal), 'NV_Certify')
    },
  }
}
