import { utf8 } from '../base/bytes.ts'
import { is, parseJson } from '../base/json.ts'
import { parseDigest } from '../base/names.ts'
import type { RepositoryKey } from '../crypto/aead.ts'
import { neutralName, snapshotBytesMax } from './format.ts'
import { knownFields, parseFormat } from './shape.ts'
import { openUnpacked } from './unpacked.ts'

/* "Snapshots": a root of trees. Its time is its writer's word; order and age are the ledger's. */

export interface Snapshot {
  /** RFC 3339; stock restic writes nanoseconds and an offset. */
  readonly time: string
  /** 64 hex digits. */
  readonly tree: string
  readonly paths: readonly string[]
  readonly tags: readonly string[]
}

/** The one directory of every snapshot. */
export const volumesDirectory = 'volumes'
/** Of a volume's file in the directory of its VM. */
export const imageSuffix = '.img'
const pathsMax = 1000
const tagsMax = 100

export function encodeSnapshot(snapshot: { time: Date; tree: string; tags: readonly string[] }): Uint8Array {
  return utf8(
    JSON.stringify({
      time: snapshot.time.toISOString(),
      tree: snapshot.tree,
      paths: [`/${volumesDirectory}`],
      hostname: neutralName,
      username: neutralName,
      tags: snapshot.tags,
    }),
  )
}

const shape = knownFields('snapshot', {
  time: is.string(64),
  tree: is.name(parseDigest),
  paths: is.array(is.string(4096), pathsMax),
  tags: is.optional(is.nullable(is.array(is.string(1024), tagsMax))),
})

/** An index put in the place of a snapshot has no `tree`, and is refused. */
export function parseSnapshot(untrustedPlaintext: Uint8Array): Snapshot {
  return parseFormat('a snapshot', () => {
    const { tags, ...snapshot } = shape(parseJson(untrustedPlaintext, { bytesMax: snapshotBytesMax }))
    return { ...snapshot, tags: tags ?? [] }
  })
}

/** Throws `MAC_WRONG`, `REPOSITORY_FORMAT`. */
export async function openSnapshot(key: RepositoryKey, untrustedBody: Uint8Array): Promise<Snapshot> {
  return parseSnapshot(await openUnpacked(key, untrustedBody, snapshotBytesMax))
}
