import { printable } from '../../base/errors.ts'
import { joined, u32 } from '../public/marshal.ts'
import { readAnswer, run } from './command.ts'
import type { Tpm } from './tpm.ts'

const getCapabilityCode = 0x17a
const tpmProperties = 6
const manufacturer = 0x105
const vendorStrings = [0x106, 0x107, 0x108, 0x109]
const propertiesMax = 64

/** What a TPM says of itself. It is not signed: only a certificate of its maker proves that it is hardware. */
export interface TpmProperties {
  /** Four letters, e.g. `IBM`. */
  readonly manufacturer: string
  /** At most 16, e.g. `SW   TPM`. */
  readonly model: string
  /** Whether it admits to be software. */
  readonly isSoftware: boolean
}

export async function readProperties(tpm: Tpm, signal: AbortSignal): Promise<TpmProperties> {
  const name = 'GetCapability'
  const parameters = joined(u32(tpmProperties), u32(manufacturer), u32(vendorStrings.length + 1))
  const answer = await run(tpm, { name, code: getCapabilityCode, parameters }, signal)
  const properties = readAnswer(answer, name, reader => {
    reader.u8()
    reader.u32()
    const count = reader.u32()
    if (count > propertiesMax) throw reader.malformed(`${count} properties`)
    return new Map(Array.from({ length: count }, () => [reader.u32(), reader.u32()] as const))
  })
  const text = (...numbers: readonly number[]) =>
    printable(
      numbers
        .map(number => Buffer.from(u32(properties.get(number) ?? 0)).toString('latin1'))
        .join('')
        .replaceAll('\0', ''),
    ).trim()
  const model = text(...vendorStrings)
  return {
    manufacturer: text(manufacturer),
    model,
    isSoftware: /^sw(tpm)?\b|simulator/i.test(model),
  }
}
