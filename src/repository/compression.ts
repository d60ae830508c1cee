import { promisify } from 'node:util'
import { constants, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import { release } from '../base/memory.ts'
import { RepositoryError } from './errors.ts'
import { looksRandom } from './looks-random.ts'

/*
 * zstd (RFC 8878) in one shot a blob, on whatever thread calls. Streams are avoided: some releases of Node end a stream
 * with a frame too many.
 */

/** The window that a frame may ask for: 128 MiB, zstd's own default limit. */
const windowLogMax = 27
/** Beside the expected plaintext, so that its end is met without a second buffer. */
const slackBytes = 64

const decompressAsync = promisify(zstdDecompress)

/** `null` when compression would not make it smaller: then a blob is stored as it is. */
export function compress(bytes: Uint8Array, level: number): Uint8Array | null {
  if (looksRandom(bytes)) return null
  const compressed = zstdCompressSync(bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: level },
    // One output buffer that holds the worst case; the default grows by 16 KiB.
    chunkSize: compressedBytesBound(bytes.byteLength),
    pledgedSrcSize: bytes.byteLength,
  })
  if (compressed.byteLength < bytes.byteLength) return compressed
  release(compressed)
  return null
}
/** At most `bytesMax` of plaintext; a frame that holds more is refused before it is unfolded. */
export async function decompress(untrustedFrame: Uint8Array, bytesMax: number): Promise<Uint8Array> {
  try {
    return await decompressAsync(untrustedFrame, {
      params: { [constants.ZSTD_d_windowLogMax]: windowLogMax },
      maxOutputLength: Math.max(bytesMax, 1),
    })
  } catch (cause) {
    throw new RepositoryError('REPOSITORY_FORMAT', `not a zstd frame of at most ${bytesMax} bytes`, { cause })
  }
}

/**
 * As `decompress`, on this thread, for a plaintext whose length is known and already bounded; any other length is refused.
 */
export function decompressExactly(untrustedFrame: Uint8Array, bytes: number): Uint8Array {
  try {
    const plain = zstdDecompressSync(untrustedFrame, {
      params: { [constants.ZSTD_d_windowLogMax]: windowLogMax },
      maxOutputLength: Math.max(bytes, 1),
      chunkSize: bytes + slackBytes,
    })
    if (plain.byteLength === bytes) return plain
    throw new RepositoryError(
      'REPOSITORY_FORMAT',
      `a blob of ${plain.byteLength} bytes; its index says ${bytes}`,
    )
  } catch (cause) {
    if (cause instanceof RepositoryError) throw cause
    throw new RepositoryError('REPOSITORY_FORMAT', `not a zstd frame of ${bytes} bytes`, { cause })
  }
}

/** ZSTD_COMPRESSBOUND, rounded up. */
export function compressedBytesBound(bytes: number): number {
  return bytes + (bytes >>> 8) + 1024
}
