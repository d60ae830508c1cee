import { toHex, utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest, parseVmName, type VmName } from '../base/names.ts'
import { RepositoryError } from './errors.ts'
import { blobBytesMax, chunkBytesMin, volumeBytesMax } from './format.ts'
import { parseFormat } from './shape.ts'

/*
 * `volumes/manifest.json` of every snapshot: what was backed up, and the digest of each volume as a whole, so that a
 * restore by any tool can be compared. The ledger holds its digest; the salt keeps that from confirming a guess.
 */

export const manifestName = 'manifest.json'
const manifestVersion = 2
const saltLength = 32
/** Of a snapshot. */
export const vmsMax = 1000
/** Of a VM. */
export const volumesMax = 16
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

/** Throws `SNAPSHOT_LIMIT` for what could not be read again. */
export function encodeManifest(vms: readonly ManifestVm[], entropy: Entropy): Uint8Array {
  const salt = toHex(entropy.bytes(saltLength))
  const bytes = utf8(`${JSON.stringify({ version: manifestVersion, salt, vms }, undefined, 1)}\n`)
  const volumes = Math.max(0, ...vms.map(vm => vm.volumes.length))
  if (vms.length <= vmsMax && volumes <= volumesMax && bytes.byteLength <= manifestBytesMax) return bytes
  throw new RepositoryError(
    'SNAPSHOT_LIMIT',
    `a manifest of ${vms.length} VMs, at most ${volumes} volumes each, ${bytes.byteLength} bytes`,
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
