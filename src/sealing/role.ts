import { fromBase64, toBase64, utf8 } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { fields, is } from '../base/json.ts'
import type { Digest } from '../base/names.ts'
import { SealError } from './errors.ts'
import { requirePath } from './paths.ts'
import { parsePayload, requirePrevious, versionFields } from './payload.ts'

/* A role's files, all of them in each version (TUF's targets, with the content inside). */

export const rolePayloadType = 'application/vnd.strongroom.role+json'
export const sealedFileBytesMax = 256 * 1024
export const sealedFilesMax = 20_000
const fileTextLengthMax = Math.ceil(sealedFileBytesMax / 3) * 4

export interface SealedRole {
  readonly role: string
  readonly version: number
  readonly previous: Digest | null
  readonly expires: Date
  readonly files: ReadonlyMap<string, Uint8Array>
}

const shape = fields('role', {
  v: is.literal(1),
  type: is.literal('role'),
  role: is.string(32),
  ...versionFields,
  files: is.record(is.string(fileTextLengthMax), path => path, sealedFilesMax),
})

/** `payload` has been verified with the keys of `role`. Paths outside `limits` are refused. */
export function parseRole(
  payload: Uint8Array,
  role: string,
  limits: readonly string[],
  what: string,
): SealedRole {
  const parsed = parsePayload(payload, what, shape)
  if (parsed.role !== role)
    throw new SealError('SEAL_PAYLOAD_INVALID', `${what}: it is of another role; expected '${role}'`)
  const { version, previous, expires } = parsed
  requirePrevious(version, previous, what)
  const files = new Map<string, Uint8Array>()
  for (const [path, text] of Object.entries(parsed.files)) {
    requirePath(path, limits, what)
    files.set(path, decodeFile(text, path, what))
  }
  return { role, version, previous, expires, files }
}

export function encodeRole(role: SealedRole): Uint8Array {
  const { version, previous, expires } = role
  const paths = [...role.files.keys()].sort()
  const files = Object.fromEntries(
    paths.map(path => [path, toBase64(role.files.get(path) ?? new Uint8Array())]),
  )
  return utf8(JSON.stringify({ v: 1, type: 'role', role: role.role, version, previous, expires, files }))
}

function decodeFile(text: string, path: string, what: string): Uint8Array {
  try {
    const bytes = fromBase64(text)
    if (bytes.byteLength <= sealedFileBytesMax) return bytes
    throw new SealError('SEAL_TOO_LARGE', `${what}: '${path}' has more than ${sealedFileBytesMax} bytes`)
  } catch (cause) {
    if (cause instanceof SealError || !(cause instanceof CodedError)) throw cause
    throw new SealError('SEAL_PAYLOAD_INVALID', `${what}: '${path}' is not canonical base64`, { cause })
  }
}
