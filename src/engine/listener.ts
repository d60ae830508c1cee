import type { Duplex } from 'node:stream'
import type { VmName } from '../base/names.ts'

const pendingBytesMax = 1024 * 1024

/** One who is told things as they happen. A listener that takes nothing is let go: it may connect again. */
export function tell(stream: Duplex, bytes: Uint8Array): void {
  if (stream.destroyed) return
  stream.write(bytes)
  if (stream.writableLength > pendingBytesMax) stream.destroy()
}

/**
 * Those who listen, a few of each VM. One that half-closed and then went away is seen only at the next write, which may
 * never come; so the oldest of a VM gives way to its newest, and the dead cannot use up dom0's connections.
 */
export class Listeners {
  readonly #countMax: number
  readonly #bySource = new Map<VmName, Set<Duplex>>()

  constructor(countMax: number) {
    this.#countMax = countMax
  }

  /** Until the whole connection is closed: a client half-closes at once and goes on listening. */
  async untilClosed(source: VmName, stream: Duplex): Promise<void> {
    const streams = this.#bySource.get(source) ?? new Set()
    this.#bySource.set(source, streams.add(stream))
    const [oldest] = streams
    if (streams.size > this.#countMax) oldest?.destroy()
    try {
      stream.resume()
      if (!stream.destroyed) await new Promise<void>(resolve => stream.once('close', () => resolve()))
    } finally {
      streams.delete(stream)
      if (streams.size === 0) this.#bySource.delete(source)
    }
  }
}
