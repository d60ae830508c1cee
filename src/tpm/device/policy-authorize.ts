import { approvalKeyArea } from '../public/approval.ts'
import { hierarchy } from '../public/constants.ts'
import { digestOf, nameOf } from '../public/hash.ts'
import { joined, nothing, sized, u16, u32 } from '../public/marshal.ts'
import { approvalOf } from '../public/policy.ts'
import { encodeSignature } from '../public/signature.ts'
import { readAnswer, run, withLoaded } from './command.ts'
import type { Tpm } from './tpm.ts'

const code = { loadExternal: 0x167, verifySignature: 0x177, policyAuthorize: 0x16a } as const
const ticketTag = { verified: 0x8022 } as const
const nameBytesMax = 128

/** What a sealing key has signed: this policy may take the place of the one before. */
export interface Approval {
  /** What `pcrPolicy` gives for the new state of the machine. */
  readonly policy: Uint8Array
  readonly reference: Uint8Array
  /** Point of the P-256 key. */
  readonly x: Uint8Array
  readonly y: Uint8Array
  /** `r || s` over `approvalOf(policy, reference)`. */
  readonly signature: Uint8Array
}

/** Has the TPM verify the approval and take it as the policy of the session. Throws `TPM_POLICY_FAILED`. */
export async function authorisePolicy(
  tpm: Tpm,
  session: number,
  { policy, reference, x, y, signature }: Approval,
  signal: AbortSignal,
): Promise<void> {
  const area = approvalKeyArea(x, y)
  const key = await run(
    tpm,
    {
      name: 'LoadExternal',
      code: code.loadExternal,
      parameters: joined(sized(nothing), sized(area), u32(hierarchy.owner)),
      givesHandle: true,
    },
    signal,
  )
  const ticket = await withLoaded(tpm, key, async ({ handle }) => {
    const parameters = joined(sized(digestOf(approvalOf(policy, reference))), encodeSignature(signature))
    const command = { name: 'VerifySignature', code: code.verifySignature, handles: [handle], parameters }
    return readAnswer(await run(tpm, command, signal), 'VerifySignature', reader => {
      const tag = reader.u16()
      if (tag !== ticketTag.verified) throw reader.malformed(`a ticket of kind 0x${tag.toString(16)}`)
      return joined(u16(tag), u32(reader.u32()), sized(reader.sized(nameBytesMax)))
    })
  })
  const parameters = joined(sized(policy), sized(reference), sized(nameOf(area)), ticket)
  await run(
    tpm,
    { name: 'PolicyAuthorize', code: code.policyAuthorize, handles: [session], parameters },
    signal,
  )
}
