import { attestType, generatedByTpm, limits } from './constants.ts'
import { type PcrBank, readPcrSelection } from './pcrs.ts'
import { TpmReader } from './reader.ts'

/* TPMS_ATTEST (part 2, 10.12.12): what a TPM says about itself, and signs. */

const nvContentsMax = 2048

/** When it was said, by the TPM's own counting; none of it ever goes back. */
export interface TpmTime {
  /** Milliseconds that the TPM was on since it was cleared. */
  readonly clock: bigint
  /** Starts of the machine. */
  readonly resetCount: number
  /** Resumptions since the last start. */
  readonly restartCount: number
}

export interface Attest {
  readonly magic: number
  readonly type: number
  readonly qualifiedSigner: Uint8Array
  /** Nonce of whoever asked. */
  readonly extraData: Uint8Array
  readonly time: TpmTime
  /** Whether no higher clock can have been told before; false after power was lost. */
  readonly isClockSafe: boolean
  readonly firmware: bigint
  readonly attested:
    | { readonly kind: 'quote'; readonly banks: readonly PcrBank[]; readonly pcrDigest: Uint8Array }
    | {
        readonly kind: 'nv'
        readonly name: Uint8Array
        readonly offset: number
        readonly contents: Uint8Array
      }
    /** Of a kind that is not read: left as it is. */
    | { readonly kind: 'other' }
}

/** As it was sent: signature and bytes, neither verified. */
export interface SignedAttest {
  /** TPMS_ATTEST. */
  readonly attest: Uint8Array
  /** TPMT_SIGNATURE. */
  readonly signature: Uint8Array
}

/** Throws `TPM_MALFORMED`. Of a wrong `magic` or `type` the caller decides. */
export function parseAttest(untrustedBytes: Uint8Array): Attest {
  const reader = new TpmReader(untrustedBytes, 'a statement of a TPM')
  const magic = reader.u32()
  const type = reader.u16()
  const qualifiedSigner = reader.sized(limits.name)
  const extraData = reader.sized(limits.data)
  const time = { clock: reader.u64(), resetCount: reader.u32(), restartCount: reader.u32() }
  const safe = reader.u8()
  if (safe > 1) throw reader.malformed(`${safe} where yes or no must be`)
  const firmware = reader.u64()
  const attested = magic === generatedByTpm ? readAttested(reader, type) : ({ kind: 'other' } as const)
  if (attested.kind !== 'other') reader.end()
  return { magic, type, qualifiedSigner, extraData, time, isClockSafe: safe === 1, firmware, attested }
}

function readAttested(reader: TpmReader, type: number): Attest['attested'] {
  if (type === attestType.quote)
    return { kind: 'quote', banks: readPcrSelection(reader), pcrDigest: reader.sized(limits.digest) }
  if (type === attestType.nv)
    return {
      kind: 'nv',
      name: reader.sized(limits.name),
      offset: reader.u16(),
      contents: reader.sized(nvContentsMax),
    }
  return { kind: 'other' }
}

/**
 * `null`, or in words which of `since` went back: then it is another TPM, or its state was copied back. After a start without an
 * orderly end before it, the clock goes on from where the TPM last wrote it down (part 1, 36.3.2).
 */
export function wentBack(
  { time: now, isClockSafe }: Pick<Attest, 'time' | 'isClockSafe'>,
  since: TpmTime,
): string | null {
  const mayLag = !isClockSafe && now.resetCount > since.resetCount
  if (now.resetCount < since.resetCount)
    return `it counts ${now.resetCount} starts, and counted ${since.resetCount} before`
  if (now.clock < since.clock && !mayLag)
    return `its clock is at ${now.clock} ms, and was at ${since.clock} ms before`
  if (now.resetCount === since.resetCount && now.restartCount < since.restartCount)
    return `it counts ${now.restartCount} resumptions, and counted ${since.restartCount} before`
  return null
}
