import type { Duplex } from 'node:stream'
import { type FrameKind, frameHeader, jsonPayload } from '../protocol.ts'

/** Writes frames in the order of the calls. Each has left when its promise resolves, so that a slower dom0 is waited for. */
export class FrameWriter {
  readonly #channel: Duplex

  constructor(channel: Duplex) {
    this.#channel = channel
  }

  json(kind: FrameKind, value: unknown): Promise<void> {
    return this.frame(kind, jsonPayload(value))
  }

  async frame(kind: FrameKind, ...payload: readonly Uint8Array[]): Promise<void> {
    const length = payload.reduce((sum, part) => sum + part.byteLength, 0)
    const parts = [frameHeader(kind, length), ...payload]
    await new Promise<void>((resolve, reject) => {
      this.#channel.cork()
      for (const [index, part] of parts.entries())
        this.#channel.write(part, error => {
          if (error) reject(error)
          else if (index === parts.length - 1) resolve()
        })
      this.#channel.uncork()
    })
  }

  /** `bytes` at `offset` of the volume that is under way. */
  data(bytes: Uint8Array, offset: number): Promise<void> {
    const header = new Uint8Array(8)
    new DataView(header.buffer).setBigUint64(0, BigInt(offset))
    return this.frame('data', header, bytes)
  }

  async end(): Promise<void> {
    await new Promise<void>(resolve => this.#channel.end(resolve))
  }
}
