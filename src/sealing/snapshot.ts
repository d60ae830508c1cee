import { utf8 } from '../base/bytes.ts'
import { fields, is } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { envelopeBytesMax } from './envelope.ts'
import { parsePayload, parseRoleName, requirePrevious, versionFields } from './payload.ts'

/*
 * One snapshot names the root and every role by version and digest, so that files of different versions cannot be
 * mixed (TUF 1.0.33 section 4.4). Its own digest therefore names the whole sealed configuration.
 *
 * Digests are over payloads, never over signatures: holders sign in any order, at the same time on different machines,
 * and whichever of their signatures meet the threshold, the version is the same. The payload of an envelope is what
 * `jq -r .payload FILE | base64 -d | sha256sum` takes the digest of.
 */

export const snapshotPayloadType = 'application/vnd.strongroom.snapshot+json'
const rolesMax = 16

export interface SnapshotEntry {
  readonly version: number
  /** SHA-256 of the payload. */
  readonly digest: Digest
  /** Of the payload. */
  readonly bytes: number
}

export interface Snapshot {
  readonly version: number
  readonly previous: Digest | null
  readonly expires: Date
  readonly root: SnapshotEntry
  readonly roles: ReadonlyMap<string, SnapshotEntry>
}

const entry = fields('entry', {
  version: is.integer(1),
  digest: is.name(parseDigest),
  bytes: is.integer(1, envelopeBytesMax),
})

const shape = fields('snapshot', {
  v: is.literal(1),
  type: is.literal('snapshot'),
  ...versionFields,
  root: entry,
  roles: is.record(entry, parseRoleName, rolesMax),
})

/** `payload` has been verified with the keys of the role `snapshot`. */
export function parseSnapshot(payload: Uint8Array, what: string): Snapshot {
  const { version, previous, expires, root, roles } = parsePayload(payload, what, shape)
  requirePrevious(version, previous, what)
  return { version, previous, expires, root, roles: new Map(Object.entries(roles)) }
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const { version, previous, expires, root } = snapshot
  const roles = Object.fromEntries(snapshot.roles)
  return utf8(JSON.stringify({ v: 1, type: 'snapshot', version, previous, expires, root, roles }))
}
