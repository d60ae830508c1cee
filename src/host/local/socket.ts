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
 * Rejects with Node's errors (`ENOENT`, `ECONNREFUSED`, `ECONNRESET`) or `VM_INVALID` when it is no socket. An error that
 * comes later is seen by whoever reads or writes, and never ends the process.
 */
export async function connectSocket(path: string): Promise<Socket> {
  const handle = await open(path, O_PATH | constants.O_NOFOLLOW)
  let socket: Socket
  try {
    if (!(await handle.stat()).isSocket()) throw new HostError('VM_INVALID', `${path} is no socket`)
    socket = await connected(`/proc/self/fd/${handle.fd}`)
  } finally {
    await handle.close()
  }
  // It broke while the handle was being closed: the caller would wait for its 'close' in vain.
  if (socket.destroyed) throw socket.errored ?? new HostError('VM_INVALID', `${path} closed at once`)
  return socket
}

function connected(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ path, allowHalfOpen: true })
    // Stays: a listener may close with this connection in its backlog, at any moment from here on.
    socket.on('error', reject)
    socket.once('connect', () => resolve(socket))
  })
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
