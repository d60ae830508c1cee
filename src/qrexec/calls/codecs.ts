import { BaseError } from '../../base/base-errors.ts'
import { utf8 } from '../../base/bytes.ts'
import { parseJson } from '../../base/json.ts'
import type { Codec } from '../call.ts'

/** No content at all. */
export const nothing: Codec<undefined> = {
  bytesMax: 0,
  encode: () => new Uint8Array(0),
  decode: bytes =>
    bytes.parse(untrustedBytes => {
      if (untrustedBytes.byteLength > 0) throw new BaseError('FIELD_INVALID', 'unexpected payload')
      return undefined
    }),
}

/** One JSON value, shaped by `parse`. Dates are written as RFC 3339. */
export function json<T>(parse: (untrustedValue: unknown) => T, bytesMax: number): Codec<T> {
  return {
    bytesMax,
    encode: value => utf8(JSON.stringify(value)),
    decode: bytes => bytes.parse(untrustedBytes => parse(parseJson(untrustedBytes, { bytesMax }))),
  }
}
