import { CodedError } from '../../base/errors.ts'
import { joined } from '../public/marshal.ts'
import { parseNvPublic } from '../public/nv-public.ts'
import type { EndorsementKind } from './keys.ts'
import { readNv, readNvPublic } from './nv.ts'
import type { Tpm } from './tpm.ts'

/* Where makers put the certificates of the TCG's templates (EK Credential Profile 2.2.1.4). */

const indexes = { rsa: 0x01c00002, p256: 0x01c0000a } as const
/** Every TPM gives that much at once. */
const partBytes = 512

/** DER, not verified; `null` when the maker has put none there. */
export async function readEndorsementCertificate(
  tpm: Tpm,
  kind: EndorsementKind,
  signal: AbortSignal,
): Promise<Uint8Array | null> {
  const index = indexes[kind]
  try {
    const { bytes: length } = parseNvPublic(await readNvPublic(tpm, index, signal))
    const parts: Uint8Array[] = []
    for (let at = 0; at < length; at += partBytes)
      parts.push(await readNv(tpm, index, { at, length: Math.min(partBytes, length - at) }, signal))
    return withoutPadding(joined(...parts))
  } catch (error) {
    if (error instanceof CodedError && error.code === 'TPM_NOT_FOUND') return null
    throw error
  }
}

/** Some makers fill the index up behind the certificate: DER says how long it is. */
function withoutPadding(bytes: Uint8Array): Uint8Array {
  const [tag, form, high = 0, low = 0] = bytes
  return tag === 0x30 && form === 0x82 ? bytes.subarray(0, 4 + high * 256 + low) : bytes
}
