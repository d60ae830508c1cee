import { closeSync, openSync, writeSync } from 'node:fs'
import { chmod, mkdir, rename } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import path from 'node:path'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'

export interface RecorderOptions {
  /** The Unix socket to step in front of; it is renamed. */
  readonly socket: string
  /** One file a connection and direction is written here. */
  readonly directory: string
  readonly name: string
  /** Called when bytes of the socket's owner are passed on. */
  readonly onAnswer?: () => void
}

/** Steps between a Unix socket and whoever connects to it, and writes down all that passes, either way. */
export class Recorder implements AsyncDisposable {
  readonly #options: RecorderOptions
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #connections = 0

  private constructor(options: RecorderOptions, real: string) {
    this.#options = options
    this.#server = createServer({ allowHalfOpen: true }, caller => void this.#join(caller, real))
  }

  static async start(options: RecorderOptions): Promise<Recorder> {
    const { socket, directory } = options
    await mkdir(directory, { recursive: true })
    const real = path.join(path.dirname(socket), `real-${path.basename(socket)}`)
    await rename(socket, real)
    const recorder = new Recorder(options, real)
    await new Promise<void>((resolve, reject) => {
      recorder.#server.once('error', reject)
      recorder.#server.listen(socket, resolve)
    })
    await chmod(socket, 0o600)
    return recorder
  }

  async #join(caller: Socket, real: string): Promise<void> {
    this.#connections += 1
    const owner = connect({ path: real, allowHalfOpen: true })
    const { directory, name, onAnswer = () => {} } = this.#options
    const file = path.join(directory, `${name}-${this.#connections}`)
    for (const socket of [caller, owner]) this.#sockets.add(socket)
    // An end passes on as an end in its own direction; an error in either ends both, as without us.
    await Promise.all([
      pipeline(
        caller,
        tap(`${file}.asked`, () => {}),
        owner,
      ),
      pipeline(owner, tap(`${file}.answered`, onAnswer), caller),
    ]).catch(() => {})
    for (const socket of [caller, owner]) {
      socket.destroy()
      this.#sockets.delete(socket)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }
}

/** Whatever has passed is in the file already. */
function tap(file: string, onBytes: () => void): Transform {
  const record = openSync(file, 'w', 0o600)
  const transform = new Transform({
    transform(part: Buffer, _encoding, done) {
      writeSync(record, part)
      onBytes()
      done(null, part)
    },
  })
  transform.once('close', () => closeSync(record))
  return transform
}
