import { digestLength, digestOf } from './hash.ts'
import { u32 } from './marshal.ts'
import { type PcrValues, pcrDigest, pcrSelection, requireMeasured, usablePcrs } from './pcrs.ts'

/* What a TPM computes while a policy is fulfilled (part 3, section 23): a secret is sealed to the result. */

const commandCode = { policyPcr: 0x17f, policyAuthorize: 0x16a } as const

const start = new Uint8Array(digestLength)

/** Fulfilled while the PCRs have these values. Throws `TPM_PCR_UNMEASURED`, `TPM_PCR_RESETTABLE`. */
export function pcrPolicy(values: PcrValues): Uint8Array {
  requireMeasured(values)
  const selection = pcrSelection(usablePcrs(values.keys()))
  return digestOf(start, u32(commandCode.policyPcr), selection, pcrDigest(values))
}

/**
 * Fulfilled by every policy that the key with this name has signed for `reference`. A secret that is sealed to it needs no
 * new sealing when the machine is updated, only a newly signed policy.
 */
export function authorisedPolicy(keyName: Uint8Array, reference: Uint8Array): Uint8Array {
  return digestOf(digestOf(start, u32(commandCode.policyAuthorize), keyName), reference)
}

/** The message whose SHA-256 the key signs to allow `policy`. */
export function approvalOf(policy: Uint8Array, reference: Uint8Array): Uint8Array {
  return new Uint8Array([...policy, ...reference])
}
