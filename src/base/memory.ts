/**
 * Gives the memory of a large buffer back now, where the garbage collector would only notice after many of them that they
 * are large, and then look through the whole heap. All views of the buffer are empty afterwards. Small ones, which may
 * share memory, are left to the collector.
 */
export function release(bytes: Uint8Array): void {
  const { buffer } = bytes
  if (buffer instanceof ArrayBuffer && buffer.byteLength > sharedBytesMax) buffer.transfer(0)
}

/** Node's pool for small buffers has less. */
const sharedBytesMax = 64 * 1024
