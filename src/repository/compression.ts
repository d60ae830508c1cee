import { promisify } from 'node:util'
import { constants, zstdCompressSync, zstdDecompress, zstdDecompressSync } from 'node:zlib'
import { view } from '../base/bytes.ts'
import { release } from '../base/memory.ts'
import { RepositoryError } from './errors.ts'
import { compressionLevel } from './format.ts'
import { looksRandom } from './looks-random.ts'

/*
 * zstd (RFC 8878) in one shot a blob, on whatever thread calls. Streams are avoided: some releases of Node end a stream
 * with a frame too many.
 */

/** The window that a frame may ask for: 128 MiB, zstd's own default limit. */
const windowLogMax = 27
const frameMagicBytes = 4
/** Of a plaintext whose length is not told. */
const unfoldedBytesAtOnce = 256 * 1024
/** Beside the expected plaintext, so that its end is met without a second buffer. */
const slackBytes = 64

const decompressAsync = promisify(zstdDecompress)

/** `null` when compression would not make it smaller: then a blob is stored as it is. */
export function compress(bytes: Uint8Array): Uint8Array | null {
  if (looksRandom(bytes)) return null
  const compressed = zstdCompressSync(bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: compressionLevel },
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
      // One output buffer where the frame tells; the default has a trip through the pool every 16 KiB, and a copy of all at the end.
      chunkSize: Math.min(contentBytesOf(untrustedFrame) ?? unfoldedBytesAtOnce, bytesMax) + slackBytes,
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

/** What a frame claims to hold, if it does (RFC 8878, section 3.1.1.1). */
function contentBytesOf(untrustedFrame: Uint8Array): number | null {
  const bytes = view(untrustedFrame)
  const descriptor = bytes[frameMagicBytes] ?? 0
  const singleSegment = (descriptor >>> 5) & 1
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3] ?? 0
  const contentFlag = descriptor >>> 6
  const contentBytes = contentFlag === 0 ? singleSegment : 1 << contentFlag
  const at = frameMagicBytes + 1 + (1 - singleSegment) + dictionaryIdBytes
  if (contentBytes === 0 || at + contentBytes > bytes.byteLength) return null
  if (contentBytes === 8) return Number(bytes.readBigUInt64LE(at))
  return bytes.readUIntLE(at, contentBytes) + (contentBytes === 2 ? 256 : 0)
}
