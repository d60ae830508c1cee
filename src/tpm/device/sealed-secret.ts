import { Secret } from '../../base/secret.ts'
import { TpmError } from '../errors.ts'
import { algorithm, attribute, hierarchy } from '../public/constants.ts'
import { digestLength } from '../public/hash.ts'
import { joined, nothing, sized, u16, u32 } from '../public/marshal.ts'
import { pcrSelection, usablePcrs } from '../public/pcrs.ts'
import { emptyPassword, readAnswer, run, withLoaded } from './command.ts'
import { createPrimary, skipCreation, templates } from './keys.ts'
import { type Approval, authorisePolicy } from './policy-authorize.ts'
import { withPolicySession } from './policy-session.ts'
import type { Tpm } from './tpm.ts'

/* A secret that the TPM gives back only while a policy is fulfilled, and that no other TPM can open. */

const code = { create: 0x153, load: 0x157, policyPcr: 0x17f, unseal: 0x15e } as const
const blobBytesMax = 1024
const sealedBytesMax = 128

/** May lie anywhere: it is encrypted under a key that never leaves the TPM. */
export interface SealedSecret {
  /** TPMT_PUBLIC. */
  readonly area: Uint8Array
  /** Content of TPM2B_PRIVATE. */
  readonly sealed: Uint8Array
}

/** What fulfils the policy of a secret. */
export interface Fulfilment {
  readonly pcrs: readonly number[]
  /** For a secret that is sealed to `authorisedPolicy`. */
  readonly approval?: Approval
}

/** A policy is the only way in: there is no password. */
const sealedAttributes = attribute.fixedTpm | attribute.fixedParent | attribute.noDictionaryAttack

/** `policy` is what `pcrPolicy` or `authorisedPolicy` gives. `password` is the one of the owner hierarchy. */
export async function sealSecret(
  tpm: Tpm,
  secret: Secret,
  policy: Uint8Array,
  password: Secret | null,
  signal: AbortSignal,
): Promise<SealedSecret> {
  if (policy.byteLength !== digestLength || secret.byteLength > sealedBytesMax)
    throw new TpmError(
      'TPM_REFUSED',
      `at most ${sealedBytesMax} bytes can be sealed, to a policy of ${digestLength}`,
    )
  const name = 'Create'
  const template = joined(
    u16(algorithm.keyedHash),
    u16(algorithm.sha256),
    u32(sealedAttributes),
    sized(policy),
    u16(algorithm.none),
    sized(nothing),
  )
  return withStorageKey(tpm, password, signal, async parent => {
    const sensitive = secret.expose(bytes => joined(sized(nothing), sized(bytes)))
    const parameters = joined(sized(sensitive), sized(template), sized(nothing), u32(0))
    sensitive.fill(0)
    const command = {
      name,
      code: code.create,
      handles: [parent],
      authorisations: [emptyPassword],
      parameters,
    }
    return readAnswer(await run(tpm, command, signal), name, reader => {
      const [sealed, area] = [reader.sized(blobBytesMax), reader.sized(blobBytesMax)]
      skipCreation(reader)
      return { area, sealed }
    })
  })
}

/** Throws `TPM_POLICY_FAILED` when the machine is in another state, `TPM_CREDENTIAL_WRONG` for another TPM's secret. */
export async function unsealSecret(
  tpm: Tpm,
  { area, sealed }: SealedSecret,
  { pcrs, approval }: Fulfilment,
  password: Secret | null,
  signal: AbortSignal,
): Promise<Secret> {
  return withStorageKey(tpm, password, signal, async parent => {
    const loaded = await run(
      tpm,
      {
        name: 'Load',
        code: code.load,
        handles: [parent],
        authorisations: [emptyPassword],
        parameters: joined(sized(sealed), sized(area)),
        givesHandle: true,
      },
      signal,
    )
    return withLoaded(tpm, loaded, ({ handle }) =>
      withPolicySession(
        tpm,
        async session => {
          await policyPcr(tpm, session, pcrs, signal)
          if (approval !== undefined) await authorisePolicy(tpm, session, approval, signal)
          return unseal(tpm, handle, session, signal)
        },
        signal,
      ),
    )
  })
}

async function unseal(tpm: Tpm, handle: number, session: number, signal: AbortSignal): Promise<Secret> {
  const name = 'Unseal'
  const answer = await run(
    tpm,
    { name, code: code.unseal, handles: [handle], authorisations: [{ session }] },
    signal,
  )
  try {
    return Secret.take(readAnswer(answer, name, reader => reader.sized(sealedBytesMax)))
  } finally {
    answer.parameters.fill(0)
  }
}

/** With the values that the PCRs have now: the TPM takes its own when no digest is given. */
async function policyPcr(
  tpm: Tpm,
  session: number,
  pcrs: readonly number[],
  signal: AbortSignal,
): Promise<void> {
  const parameters = joined(sized(nothing), pcrSelection(usablePcrs(pcrs)))
  await run(tpm, { name: 'PolicyPCR', code: code.policyPcr, handles: [session], parameters }, signal)
}

async function withStorageKey<T>(
  tpm: Tpm,
  password: Secret | null,
  signal: AbortSignal,
  use: (parent: number) => Promise<T>,
): Promise<T> {
  const key = await createPrimary(tpm, hierarchy.owner, templates.storage, password, signal)
  return withLoaded(tpm, key, ({ handle }) => use(handle))
}
