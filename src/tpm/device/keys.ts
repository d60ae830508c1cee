import { fromHex } from '../../base/bytes.ts'
import type { Secret } from '../../base/secret.ts'
import { algorithm, attribute, curveP256, hierarchy } from '../public/constants.ts'
import { joined, nothing, sized, u16, u32 } from '../public/marshal.ts'
import { coordinateLength, type PublicArea, parsePublicArea } from '../public/public-area.ts'
import type { TpmReader } from '../public/reader.ts'
import { readAnswer, run } from './command.ts'
import type { Tpm } from './tpm.ts'

/*
 * Primary keys: made anew each time from the seed of their hierarchy and a template, so that nothing need be kept and the
 * same key comes out until somebody changes the seed.
 */

const createPrimaryCode = 0x131
const publicBytesMax = 1024

const born = attribute.fixedTpm | attribute.fixedParent | attribute.sensitiveDataOrigin
const aes128Cfb = joined(u16(algorithm.aes), u16(128), u16(algorithm.cfb))
const none = u16(algorithm.none)
const emptyPoint = joined(sized(new Uint8Array(coordinateLength)), sized(new Uint8Array(coordinateLength)))

/** PolicySecret of the endorsement hierarchy: who knows its password may use the endorsement key (TCG EK profile B.3). */
const endorsementPolicy = fromHex('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 32)

function template(type: number, attributes: number, policy: Uint8Array, rest: Uint8Array): Uint8Array {
  return joined(u16(type), u16(algorithm.sha256), u32(attributes), sized(policy), rest)
}

const storage = attribute.restricted | attribute.decrypt
const endorsementAttributes = born | attribute.adminWithPolicy | storage

/** Templates: the endorsement and storage keys of the TCG, and the attestation key of this product. */
export const templates = {
  /** TCG EK Credential Profile, template L-2. */
  endorsementP256: template(
    algorithm.ecc,
    endorsementAttributes,
    endorsementPolicy,
    joined(aes128Cfb, none, u16(curveP256), none, emptyPoint),
  ),
  /** Template L-1: the one that every TPM has a certificate for. */
  endorsementRsa: template(
    algorithm.rsa,
    endorsementAttributes,
    endorsementPolicy,
    joined(aes128Cfb, none, u16(2048), u32(0), sized(new Uint8Array(256))),
  ),
  attestation: template(
    algorithm.ecc,
    born | attribute.userWithAuth | attribute.noDictionaryAttack | attribute.restricted | attribute.sign,
    nothing,
    joined(
      none,
      u16(algorithm.ecdsa),
      u16(algorithm.sha256),
      u16(curveP256),
      none,
      sized(nothing),
      sized(nothing),
    ),
  ),
  /** TCG TPM v2.0 Provisioning Guidance, 7.5.1: the storage root key. */
  storage: template(
    algorithm.ecc,
    born | attribute.userWithAuth | attribute.noDictionaryAttack | storage,
    nothing,
    joined(aes128Cfb, none, u16(curveP256), none, emptyPoint),
  ),
} as const

export interface LoadedKey {
  readonly handle: number
  readonly area: PublicArea
}

/** To be used in `withLoaded`. `password` is the one of the hierarchy. */
export async function createPrimary(
  tpm: Tpm,
  parent: number,
  publicTemplate: Uint8Array,
  password: Secret | null,
  signal: AbortSignal,
): Promise<LoadedKey> {
  const noSensitive = sized(joined(sized(nothing), sized(nothing)))
  const answer = await run(
    tpm,
    {
      name: 'CreatePrimary',
      code: createPrimaryCode,
      handles: [parent],
      authorisations: [{ password }],
      parameters: joined(noSensitive, sized(publicTemplate), sized(nothing), u32(0)),
      givesHandle: true,
    },
    signal,
  )
  const area = readAnswer(answer, 'CreatePrimary', reader => {
    const untrustedArea = reader.sized(publicBytesMax)
    skipCreation(reader)
    reader.sized(publicBytesMax) // the name, which is computed from the area
    return parsePublicArea(untrustedArea)
  })
  return { handle: answer.handle, area }
}

/** What a TPM tells about how it made an object: nobody here asks for it. */
export function skipCreation(reader: TpmReader): void {
  reader.sized(publicBytesMax)
  reader.sized(publicBytesMax)
  reader.u16()
  reader.u32()
  reader.sized(publicBytesMax)
}

export type EndorsementKind = 'p256' | 'rsa'

export function createEndorsementKey(
  tpm: Tpm,
  kind: EndorsementKind,
  password: Secret | null,
  signal: AbortSignal,
): Promise<LoadedKey> {
  const chosen = kind === 'p256' ? templates.endorsementP256 : templates.endorsementRsa
  return createPrimary(tpm, hierarchy.endorsement, chosen, password, signal)
}

export function createAttestationKey(
  tpm: Tpm,
  password: Secret | null,
  signal: AbortSignal,
): Promise<LoadedKey> {
  return createPrimary(tpm, hierarchy.endorsement, templates.attestation, password, signal)
}
