import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { type FrameKind, frameHeader, jsonPayload } from '../protocol.ts'

/** Writes frames in the order of the calls, and waits when dom0 is slower. */
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
    this.#channel.cork()
    let room = this.#channel.write(frameHeader(kind, length))
    for (const part of payload) room = this.#channel.write(part)
    this.#channel.uncork()
    if (!room) await once(this.#channel, 'drain')
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
