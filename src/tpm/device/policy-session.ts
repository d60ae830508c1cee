import { algorithm, hierarchy } from '../public/constants.ts'
import { joined, nothing, sized, u8, u16 } from '../public/marshal.ts'
import { run, withLoaded } from './command.ts'
import type { Tpm } from './tpm.ts'

const startAuthSessionCode = 0x176
const policyType = 1

/** Without salt and without a key the nonce protects nothing; a TPM wants 16 bytes or more. */
const nonce = new Uint8Array(16)

/** A session in which a policy is fulfilled step by step. Ends with `use`, on every path. */
export async function withPolicySession<T>(
  tpm: Tpm,
  use: (session: number) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { handle } = await run(
    tpm,
    {
      name: 'StartAuthSession',
      code: startAuthSessionCode,
      handles: [hierarchy.none, hierarchy.none],
      parameters: joined(
        sized(nonce),
        sized(nothing),
        u8(policyType),
        u16(algorithm.none),
        u16(algorithm.sha256),
      ),
      givesHandle: true,
    },
    signal,
  )
  return withLoaded(tpm, { handle }, () => use(handle))
}
