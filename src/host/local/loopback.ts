import { createServer } from 'node:net'
import { connectSocket } from './socket.ts'

/** Each takes two of the host's descriptors, which the broker needs too: whoever floods this door closes it for itself. */
const connectionsMax = 128
/** An event stream speaks every 15 seconds. */
const idleMilliseconds = 120_000

export interface Loopback {
  readonly port: number
  close(): void
}

/**
 * A VM's Unix socket on a loopback port of this machine. The socket lies in the VM's directory: a link there must not
 * lead a client to another VM's services, who would believe whatever it says it is. `port` 0: any.
 */
export async function openLoopback(socketPath: string, port: number): Promise<Loopback> {
  const server = createServer(client => {
    client.on('error', () => {})
    client.setTimeout(idleMilliseconds, () => client.destroy())
    connectSocket(socketPath).then(
      inside => {
        inside.on('error', () => client.destroy())
        client.once('close', () => inside.destroy())
        if (client.destroyed) inside.destroy()
        else client.pipe(inside).pipe(client)
      },
      () => client.destroy(),
    )
  })
  server.maxConnections = connectionsMax
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', () => resolve())
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the loopback port is not known')
  return { port: address.port, close: () => server.close() }
}
