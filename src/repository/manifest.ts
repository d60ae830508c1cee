import { toHex, utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest, parseVmName, type VmName } from '../base/names.ts'
import { blobBytesMax, chunkBytesMin, volumeBytesMax } from './format.ts'
import { parseFormat } from './shape.ts'

/*
 * `volumes/manifest.json` of every snapshot: what was backed up, and the digest of each volume as a whole, so that a
 * restore by any tool can be compared. The ledger holds its digest; the salt keeps that from confirming a guess.
 */

export const manifestName = 'manifest.json'
const manifestVersion = 2
const saltLength = 32
const vmsMax = 1000
const volumesMax = 16
export const manifestBytesMax = 4 * 1024 * 1024

export interface ManifestVolume {
  readonly name: string
  /** Logical size. */
  readonly bytes: number
  readonly chunkBytes: number
  /** As `VolumeDigest` has it: over the hashes of all chunks. */
  readonly digest: Digest
}

export interface ManifestVm {
  readonly name: VmName
  readonly volumes: readonly ManifestVolume[]
}

export function encodeManifest(vms: readonly ManifestVm[], entropy: Entropy): Uint8Array {
  return utf8(
    `${JSON.stringify({ version: manifestVersion, salt: toHex(entropy.bytes(saltLength)), vms }, undefined, 1)}\n`,
  )
}

const shape = fields('manifest', {
  version: is.literal(manifestVersion),
  salt: is.name(parseDigest),
  vms: is.array(
    fields('VM', {
      name: is.name(parseVmName),
      volumes: is.array(
        fields('volume', {
          name: is.string(64),
          bytes: is.integer(0, volumeBytesMax),
          chunkBytes: is.integer(chunkBytesMin, blobBytesMax.data),
          digest: is.name(parseDigest),
        }),
        volumesMax,
      ),
    }),
    vmsMax,
  ),
})

export function parseManifest(untrustedBytes: Uint8Array): readonly ManifestVm[] {
  return parseFormat(
    'the manifest',
    () => shape(parseJson(untrustedBytes, { bytesMax: manifestBytesMax })).vms,
  )
}
