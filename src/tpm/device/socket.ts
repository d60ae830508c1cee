import net from 'node:net'
import { TpmError } from '../errors.ts'
import { joined } from '../public/marshal.ts'
import { type Channel, isPossibleLength, statedLength } from './channel.ts'

/* A software TPM behind a Unix socket: `swtpm socket --server type=unixio`. */

export async function openSocket(path: string, stop: AbortSignal): Promise<Channel> {
  const socket = net.connect(path)
  // Each exchange listens for itself; an error between two of them must not end the process.
  socket.on('error', () => {})
  await settled(socket, stop, resolve => socket.once('connect', () => resolve(undefined)))
  return {
    exchange: async (command, signal) => {
      const parts: Buffer[] = []
      let take: ((part: Buffer) => void) | undefined
      try {
        return await settled(socket, signal, (resolve, reject) => {
          take = part => {
            parts.push(part)
            const answer = Buffer.concat(parts)
            const length = statedLength(answer)
            if (length === null) return
            if (!isPossibleLength(length) || answer.byteLength > length)
              reject(
                new TpmError(
                  'TPM_MALFORMED',
                  `an answer of ${answer.byteLength} bytes that states ${length}`,
                ),
              )
            else if (answer.byteLength === length) resolve(joined(answer))
            answer.fill(0)
          }
          socket.on('data', take)
          socket.write(command)
        })
      } finally {
        if (take !== undefined) socket.off('data', take)
        // An answer may hold a secret.
        for (const part of parts) part.fill(0)
      }
    },
    isClosed: () => socket.destroyed,
    close: () => socket.destroy(),
  }
}

/** What `start` resolves with, unless the socket fails or `stop` comes first. */
async function settled<T>(
  socket: net.Socket,
  stop: AbortSignal,
  start: (resolve: (value: T) => void, reject: (error: Error) => void) => void,
): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>()
  const abort = () => {
    socket.destroy()
    reject(stop.reason)
  }
  const failed = (cause: Error) => reject(gone(cause))
  const closed = () => reject(gone())
  stop.addEventListener('abort', abort, { once: true })
  socket.once('error', failed)
  socket.once('close', closed)
  try {
    if (stop.aborted) abort()
    else if (socket.destroyed) throw gone()
    else start(resolve, reject)
    return await promise
  } finally {
    stop.removeEventListener('abort', abort)
    socket.off('error', failed)
    socket.off('close', closed)
  }
}

function gone(cause?: Error): TpmError {
  return new TpmError('TPM_UNREACHABLE', 'the software TPM closed the connection, or there is none', {
    cause,
    retry: true,
  })
}
