import { availableParallelism } from 'node:os'
import { sha256Aside } from '../crypto/digest.ts'
import { ChunkSet } from './chunk-set.ts'
import { isZero } from './chunker.ts'
import type { ContentMap } from './content-map.ts'
import { Lanes } from './lanes.ts'

/** Node has as many threads for what it does aside. */
const widthMax = 4

/** Fills `into` from `offset`; `false` where what is read ends before. */
export type ReadAt = (into: Uint8Array, offset: number) => Promise<boolean>

/**
 * Which of `chunks` something holds already, byte for byte: all of them are read and hashed, on all cores. `take` is given
 * each that is right, the very bytes that were compared, which are good until its promise settles.
 */
export async function chunksThere(
  read: ReadAt,
  content: ContentMap,
  chunks: ChunkSet,
  take: (bytes: Uint8Array, chunk: number) => Promise<void>,
  signal: AbortSignal,
): Promise<ChunkSet> {
  const there = new ChunkSet(content.length)
  const buffers: Uint8Array<ArrayBuffer>[] = []
  const lanes = new Lanes(Math.min(availableParallelism(), widthMax))
  try {
    for (const chunk of chunks) {
      await lanes.room()
      signal.throwIfAborted()
      const buffer = buffers.pop() ?? new Uint8Array(content.chunkBytes)
      lanes.start(async () => {
        const bytes = buffer.subarray(0, content.bytesOf(chunk))
        const whole = await read(bytes, chunk * content.chunkBytes)
        if (whole && (await isChunk(bytes, content.get(chunk)))) {
          await take(bytes, chunk)
          there.add(chunk)
        }
        buffers.push(buffer)
      })
    }
    await lanes.idle()
  } finally {
    await lanes.settled()
  }
  return there
}

async function isChunk(bytes: Uint8Array<ArrayBuffer>, id: Uint8Array | null): Promise<boolean> {
  // Much of what an interrupted restore has left are holes.
  if (id === null || isZero(bytes)) return id === null && isZero(bytes)
  return Buffer.compare(await sha256Aside(bytes), id) === 0
}
