import { Secret } from '../../base/secret.ts'
import { hierarchy } from '../public/constants.ts'
import type { Credential } from '../public/credential.ts'
import { joined, nothing, sized, u32 } from '../public/marshal.ts'
import { emptyPassword, readAnswer, run } from './command.ts'
import type { LoadedKey } from './keys.ts'
import { withPolicySession } from './policy-session.ts'
import type { Tpm } from './tpm.ts'

const activateCredentialCode = 0x147
const policySecretCode = 0x151
const secretBytesMax = 64

/** Answers a challenge of `makeCredential`. Throws `TPM_CREDENTIAL_WRONG` for one that was made for other keys. */
export async function activateCredential(
  tpm: Tpm,
  attestationKey: LoadedKey,
  endorsementKey: LoadedKey,
  { blob, encryptedSeed }: Credential,
  endorsementPassword: Secret | null,
  signal: AbortSignal,
): Promise<Secret> {
  const name = 'ActivateCredential'
  return withPolicySession(
    tpm,
    async session => {
      await policySecret(tpm, session, endorsementPassword, signal)
      const command = {
        name,
        code: activateCredentialCode,
        handles: [attestationKey.handle, endorsementKey.handle],
        authorisations: [emptyPassword, { session }],
        parameters: joined(sized(blob), sized(encryptedSeed)),
      }
      const answer = await run(tpm, command, signal)
      try {
        return Secret.take(readAnswer(answer, name, reader => reader.sized(secretBytesMax)))
      } finally {
        answer.parameters.fill(0)
      }
    },
    signal,
  )
}

/** The policy of every endorsement key: the password of its hierarchy. */
async function policySecret(
  tpm: Tpm,
  session: number,
  password: Secret | null,
  signal: AbortSignal,
): Promise<void> {
  await run(
    tpm,
    {
      name: 'PolicySecret',
      code: policySecretCode,
      handles: [hierarchy.endorsement, session],
      authorisations: [{ password }],
      parameters: joined(sized(nothing), sized(nothing), sized(nothing), u32(0)),
    },
    signal,
  )
}
