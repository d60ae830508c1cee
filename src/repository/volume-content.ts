import type { BlobIds } from './blob-ids.ts'
import { ContentMap } from './content-map.ts'
import { RepositoryError } from './errors.ts'
import type { ManifestVolume } from './manifest.ts'
import { ZeroBlobs } from './zero-blobs.ts'

/**
 * The chunks of a volume by the ids in its tree. Throws `VOLUME_DIGEST` unless they have the digest that the manifest
 * gives, which shows before anything is fetched that the tree is that of the volume.
 */
export function volumeContent(volume: ManifestVolume, ids: BlobIds): ContentMap {
  const { name, bytes, chunkBytes } = volume
  const content = ContentMap.of(bytes, chunkBytes)
  const zeros = new ZeroBlobs(bytes, chunkBytes)
  let at = 0
  for (const id of ids) {
    const zeroBytes = zeros.lengthOf(id)
    if (zeroBytes !== null) {
      at += zeroBytes
      continue
    }
    // Our trees have chunks at chunks; any other would be cut otherwise, and has another digest.
    if (at % chunkBytes !== 0 || at >= bytes) throw differs(name)
    const chunk = at / chunkBytes
    content.set(chunk, id)
    at += content.bytesOf(chunk)
  }
  if (at !== bytes || content.digest() !== volume.digest) throw differs(name)
  return content
}

function differs(name: string): RepositoryError {
  return new RepositoryError(
    'VOLUME_DIGEST',
    `the tree of volume '${name}' has not the digest that the manifest gives`,
  )
}
