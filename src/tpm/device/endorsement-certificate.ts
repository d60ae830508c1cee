import { CodedError } from '../../base/errors.ts'
import { limits } from '../public/constants.ts'
import { joined, u16 } from '../public/marshal.ts'
import { parseNvPublic } from '../public/nv-public.ts'
import { emptyPassword, readAnswer, run } from './command.ts'
import type { EndorsementKind } from './keys.ts'
import type { Tpm } from './tpm.ts'

/* Where makers put the certificates of the TCG's templates (EK Credential Profile 2.2.1.4). */

const indexes = { rsa: 0x01c00002, p256: 0x01c0000a } as const
const code = { readPublic: 0x169, read: 0x14e } as const
/** Every TPM gives that much at once. */
const partBytes = 512
const nvPublicMax = 128

/** DER, not verified; `null` when the maker has put none there. */
export async function readEndorsementCertificate(
  tpm: Tpm,
  kind: EndorsementKind,
  signal: AbortSignal,
): Promise<Uint8Array | null> {
  const index = indexes[kind]
  try {
    const length = await readLength(tpm, index, signal)
    const parts: Uint8Array[] = []
    for (let at = 0; at < length; at += partBytes)
      parts.push(await readPart(tpm, index, at, Math.min(partBytes, length - at), signal))
    return withoutPadding(joined(...parts))
  } catch (error) {
    if (error instanceof CodedError && error.code === 'TPM_NOT_FOUND') return null
    throw error
  }
}

async function readLength(tpm: Tpm, index: number, signal: AbortSignal): Promise<number> {
  const name = 'NV_ReadPublic'
  const answer = await run(tpm, { name, code: code.readPublic, handles: [index] }, signal)
  return readAnswer(answer, name, reader => {
    const { bytes } = parseNvPublic(reader.sized(nvPublicMax))
    reader.sized(limits.name)
    return bytes
  })
}

async function readPart(
  tpm: Tpm,
  index: number,
  at: number,
  length: number,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const name = 'NV_Read'
  const parameters = joined(u16(length), u16(at))
  const command = {
    name,
    code: code.read,
    handles: [index, index],
    authorisations: [emptyPassword],
    parameters,
  }
  return readAnswer(await run(tpm, command, signal), name, reader => reader.sized(partBytes))
}

/** Some makers fill the index up behind the certificate: DER says how long it is. */
function withoutPadding(bytes: Uint8Array): Uint8Array {
  const [tag, form, high = 0, low = 0] = bytes
  return tag === 0x30 && form === 0x82 ? bytes.subarray(0, 4 + high * 256 + low) : bytes
}
