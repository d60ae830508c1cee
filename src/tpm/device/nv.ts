import { limits } from '../public/constants.ts'
import { joined, u16 } from '../public/marshal.ts'
import { emptyPassword, readAnswer, run } from './command.ts'
import type { Tpm } from './tpm.ts'

/* Indexes of a TPM's memory that everyone may read. */

const code = { readPublic: 0x169, read: 0x14e } as const
const nvPublicBytesMax = 128

/** TPMS_NV_PUBLIC, as the TPM tells it: what the index is. Throws `TPM_NOT_FOUND`. */
export async function readNvPublic(tpm: Tpm, index: number, signal: AbortSignal): Promise<Uint8Array> {
  const name = 'NV_ReadPublic'
  const answer = await run(tpm, { name, code: code.readPublic, handles: [index] }, signal)
  return readAnswer(answer, name, reader => {
    const area = reader.sized(nvPublicBytesMax)
    reader.sized(limits.name)
    return area
  })
}

/** At most `length` bytes from `at` on. Throws `TPM_NOT_FOUND` for an index that was never written. */
export async function readNv(
  tpm: Tpm,
  index: number,
  { at, length }: { readonly at: number; readonly length: number },
  signal: AbortSignal,
): Promise<Uint8Array> {
  const name = 'NV_Read'
  const command = {
    name,
    code: code.read,
    handles: [index, index],
    authorisations: [emptyPassword],
    parameters: joined(u16(length), u16(at)),
  }
  return readAnswer(await run(tpm, command, signal), name, reader => reader.sized(length))
}
