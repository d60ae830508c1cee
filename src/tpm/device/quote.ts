import type { SignedAttest } from '../public/attest.ts'
import { algorithm } from '../public/constants.ts'
import { joined, sized, u16 } from '../public/marshal.ts'
import { pcrSelection, usablePcrs } from '../public/pcrs.ts'
import { type Answer, emptyPassword, readAnswer, run } from './command.ts'
import type { LoadedKey } from './keys.ts'
import type { Tpm } from './tpm.ts'

const quoteCode = 0x158
const attestBytesMax = 2048

/** Has the attestation key sign the values of PCRs together with `nonce`, at most 32 bytes. */
export async function quotePcrs(
  tpm: Tpm,
  { handle }: LoadedKey,
  nonce: Uint8Array,
  pcrs: Iterable<number>,
  signal: AbortSignal,
): Promise<SignedAttest> {
  const name = 'Quote'
  const parameters = joined(sized(nonce), u16(algorithm.none), pcrSelection(usablePcrs(pcrs)))
  const command = { name, code: quoteCode, handles: [handle], authorisations: [emptyPassword], parameters }
  return readStatement(await run(tpm, command, signal), name)
}

/** TPM2B_ATTEST and TPMT_SIGNATURE. */
export function readStatement(answer: Answer, name: string): SignedAttest {
  return readAnswer(answer, name, reader => ({
    attest: reader.sized(attestBytesMax),
    signature: reader.rest(),
  }))
}
