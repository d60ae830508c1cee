import { BlobIds } from './blob-ids.ts'
import type { ContentMap } from './content-map.ts'
import { zeroBlobBytes } from './format.ts'

/**
 * What a tree says of a volume: its blobs in order; every run of zeros as restic's zero blob, repeated, and a shorter one for
 * the remainder. `zeroBlob` gives the id of so many zeros.
 */
export function contentIds(map: ContentMap, zeroBlob: (bytes: number) => Uint8Array): BlobIds {
  const ids = new BlobIds()
  let zeros = 0
  const endZeros = () => {
    for (; zeros >= zeroBlobBytes; zeros -= zeroBlobBytes) ids.push(zeroBlob(zeroBlobBytes))
    if (zeros > 0) ids.push(zeroBlob(zeros))
    zeros = 0
  }
  for (let chunk = 0; chunk < map.length; chunk++) {
    const id = map.get(chunk)
    if (id === null) {
      zeros += map.bytesOf(chunk)
      continue
    }
    endZeros()
    ids.push(id)
  }
  endZeros()
  return ids
}
