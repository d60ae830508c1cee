import { CodedError, printable } from '../base/errors.ts'
import { is, parseJson } from '../base/json.ts'
import { parseDigest } from '../base/names.ts'
import { envelopeBytesMax } from './envelope.ts'
import { SealError } from './errors.ts'

/* What root, snapshot and role payloads have in common. */

const payloadDepthMax = 6

/** Parses a payload whose signatures have been verified. Throws `SEAL_PAYLOAD_INVALID`. */
export function parsePayload<T>(payload: Uint8Array, what: string, shape: (value: unknown) => T): T {
  try {
    return shape(parseJson(payload, { bytesMax: envelopeBytesMax, depthMax: payloadDepthMax }))
  } catch (cause) {
    if (cause instanceof SealError) throw cause
    // Whatever else a signed payload can do to a parser, text of many megabytes for instance, is a fault of its form.
    const found = cause instanceof CodedError ? cause.message : 'it cannot be parsed'
    throw new SealError('SEAL_PAYLOAD_INVALID', `${what}: ${found}`, { cause })
  }
}

/** `previous` is the digest of the envelope of the version before; the first version has none. */
export const versionFields = {
  version: is.integer(1),
  previous: is.nullable(is.name(parseDigest)),
  expires: is.time,
} as const

export function requirePrevious(version: number, previous: string | null, what: string): void {
  if ((version === 1) !== (previous === null))
    throw new SealError(
      'SEAL_PAYLOAD_INVALID',
      `${what}: version ${version} ${previous === null ? 'names no' : 'names a'} version before it`,
    )
}

/** 1 to 32 of a-z 0-9 -, beginning with a letter. */
export function parseRoleName(untrustedName: string): string {
  if (!/^[a-z][a-z0-9-]{0,31}$/.test(untrustedName))
    throw new SealError(
      'SEAL_PAYLOAD_INVALID',
      `'${printable(untrustedName).slice(0, 80)}' is not a role name`,
    )
  return untrustedName
}
