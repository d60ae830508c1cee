import { Duplex } from 'node:stream'
import { StorageError } from './errors.ts'
import type { UploadShare } from './upload-budget.ts'

/** `stream`, which it owns, whose writes wait one by one until `upload` lets them go. Reading is as it was. */
export function pacedStream(stream: Duplex, upload: UploadShare): Duplex {
  return new PacedStream(stream, upload)
}

class PacedStream extends Duplex {
  readonly #stream: Duplex
  readonly #upload: UploadShare
  readonly #end = new AbortController()

  constructor(stream: Duplex, upload: UploadShare) {
    super()
    this.#stream = stream
    this.#upload = upload
    stream.on('data', part => {
      if (!this.push(part)) stream.pause()
    })
    stream.once('end', () => this.push(null))
    stream.on('error', error => this.destroy(error))
    // What was read and not yet taken is still of use to whoever reads.
    stream.once('close', () => {
      if (!stream.readableEnded) this.destroy()
    })
  }

  override _read(): void {
    this.#stream.resume()
  }

  override _write(part: Uint8Array, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#upload.bytesPerSecondMax === null) {
      this.#stream.write(part, done)
      return
    }
    this.#upload
      .take(part.byteLength, this.#end.signal)
      .then(() => this.#stream.write(part, done))
      .catch(done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#stream.end(done)
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#end.abort(error ?? new StorageError('STORAGE_UNAVAILABLE', 'the connection was closed'))
    this.#stream.destroy()
    done(error)
  }
}
