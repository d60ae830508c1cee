import { constants } from 'node:fs'
import { chmod, open, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { HostError } from '../errors.ts'

/** Linux open(2): a handle that can only name the file. Not among Node's constants. */
const O_PATH = 0o10000000

/**
 * Connects to the Unix socket at `path`; half-close is allowed. The directory of `path` may belong to a VM that is not
 * trusted: what lies there is opened without following links and connected to through that handle, so that a VM cannot
 * put a link to another VM's socket in the place of its own.
 *
 * Rejects with Node's errors (`ENOENT`, `ECONNREFUSED`) or `VM_INVALID` when it is no socket.
 */
export async function connectSocket(path: string): Promise<Socket> {
  const handle = await open(path, O_PATH | constants.O_NOFOLLOW)
  try {
    if (!(await handle.stat()).isSocket()) throw new HostError('VM_INVALID', `${path} is no socket`)
    return await new Promise((resolve, reject) => {
      const socket = connect({ path: `/proc/self/fd/${handle.fd}`, allowHalfOpen: true })
      socket.once('error', reject)
      socket.once('connect', () => {
        socket.off('error', reject)
        resolve(socket)
      })
    })
  } finally {
    await handle.close()
  }
}

export interface Listener {
  close(): Promise<void>
}

/** Listens at `path` (mode 0600), in the place of a socket that an earlier process has left there. */
export async function listenSocket(path: string, accept: (socket: Socket) => void): Promise<Listener> {
  await rm(path, { force: true })
  const sockets = new Set<Socket>()
  const server = createServer({ allowHalfOpen: true }, socket => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => sockets.delete(socket))
    accept(socket)
  })
  await listening(server, path)
  // Between the two calls the directory, which only its owner may enter, keeps others out.
  await chmod(path, 0o600)
  return {
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      }),
  }
}

function listening(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
