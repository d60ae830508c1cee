import { view } from '../../base/bytes.ts'
import { TpmError } from '../errors.ts'

/** Reads the big-endian structures of TPM 2.0 Library part 2. Every length is compared with what is there: `TPM_MALFORMED`. */
export class TpmReader {
  readonly #bytes: Buffer
  readonly #what: string
  #at = 0

  constructor(untrustedBytes: Uint8Array, what: string) {
    this.#bytes = view(untrustedBytes)
    this.#what = what
  }

  /** A copy of the next `length` bytes. */
  take(length: number): Uint8Array {
    return new Uint8Array(this.#next(length))
  }

  u8(): number {
    return this.#next(1).readUInt8()
  }
  u16(): number {
    return this.#next(2).readUInt16BE()
  }
  u32(): number {
    return this.#next(4).readUInt32BE()
  }
  u64(): bigint {
    return this.#next(8).readBigUInt64BE()
  }

  /** A TPM2B: two bytes of length, then at most `bytesMax` bytes. */
  sized(bytesMax: number): Uint8Array {
    const length = this.u16()
    if (length > bytesMax) throw this.malformed(`${length} bytes where at most ${bytesMax} may be`)
    return this.take(length)
  }

  rest(): Uint8Array {
    return this.take(this.#bytes.byteLength - this.#at)
  }

  end(): void {
    const left = this.#bytes.byteLength - this.#at
    if (left > 0) throw this.malformed(`${left} bytes too many`)
  }

  malformed(found: string): TpmError {
    return new TpmError('TPM_MALFORMED', `${this.#what}: ${found}`)
  }

  #next(length: number): Buffer {
    const left = this.#bytes.byteLength - this.#at
    if (length > left) throw this.malformed(`it ends ${length - left} bytes too early`)
    const part = this.#bytes.subarray(this.#at, this.#at + length)
    this.#at += length
    return part
  }
}
