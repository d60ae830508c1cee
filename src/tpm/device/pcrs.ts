import { TpmError } from '../errors.ts'
import { algorithm } from '../public/constants.ts'
import { digestLength } from '../public/hash.ts'
import { joined, u16, u32 } from '../public/marshal.ts'
import { isSelection, type PcrValues, pcrSelection, readPcrSelection, usablePcrs } from '../public/pcrs.ts'
import { emptyPassword, readAnswer, run } from './command.ts'
import type { Tpm } from './tpm.ts'

const extendCode = 0x182
const readCode = 0x17e
/** A TPM gives no more at once. */
const valuesMax = 8

/** Measures `digest` (SHA-256) into a PCR. Throws `TPM_PCR_RESETTABLE`. */
export async function extendPcr(
  tpm: Tpm,
  pcr: number,
  digest: Uint8Array,
  signal: AbortSignal,
): Promise<void> {
  const handles = usablePcrs([pcr])
  if (digest.byteLength !== digestLength)
    throw new TpmError('TPM_REFUSED', `a digest of ${digest.byteLength} bytes; expected ${digestLength}`)
  const parameters = joined(u32(1), u16(algorithm.sha256), digest)
  await run(
    tpm,
    { name: 'PCR_Extend', code: extendCode, handles, authorisations: [emptyPassword], parameters },
    signal,
  )
}

/** Values of the SHA-256 bank. Not at one moment, for more than eight. Throws `TPM_NOT_FOUND` without such a bank. */
export async function readPcrs(tpm: Tpm, pcrs: Iterable<number>, signal: AbortSignal): Promise<PcrValues> {
  const wanted = usablePcrs(pcrs)
  const values = new Map<number, Uint8Array>()
  for (let at = 0; at < wanted.length; at += valuesMax)
    for (const [pcr, value] of await readSome(tpm, wanted.slice(at, at + valuesMax), signal))
      values.set(pcr, value)
  return values
}

async function readSome(tpm: Tpm, pcrs: readonly number[], signal: AbortSignal): Promise<PcrValues> {
  const name = 'PCR_Read'
  const answer = await run(tpm, { name, code: readCode, parameters: pcrSelection(pcrs) }, signal)
  const { banks, values } = readAnswer(answer, name, reader => {
    reader.u32()
    const selected = readPcrSelection(reader)
    const count = reader.u32()
    if (count > valuesMax) throw reader.malformed(`${count} values`)
    return { banks: selected, values: Array.from({ length: count }, () => reader.sized(digestLength)) }
  })
  if (!isSelection(banks, pcrs) || values.length !== pcrs.length)
    throw new TpmError(
      'TPM_NOT_FOUND',
      `PCR ${pcrs.join(', ')}: the TPM keeps none of the SHA-256 bank there`,
    )
  return new Map(pcrs.flatMap((pcr, at) => (values[at] === undefined ? [] : [[pcr, values[at]]])))
}
