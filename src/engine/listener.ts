import type { Duplex } from 'node:stream'

const pendingBytesMax = 1024 * 1024

/** One who is told things as they happen. A listener that takes nothing is let go: it may connect again. */
export function tell(stream: Duplex, bytes: Uint8Array): void {
  if (stream.destroyed) return
  stream.write(bytes)
  if (stream.writableLength > pendingBytesMax) stream.destroy()
}

/** A client half-closes at once and goes on listening; only the close of the whole connection ends the stream. */
export async function untilClosed(stream: Duplex): Promise<void> {
  stream.resume()
  if (stream.destroyed) return
  await new Promise<void>(resolve => stream.once('close', () => resolve()))
}
