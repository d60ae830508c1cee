import { pipeline } from 'node:stream/promises'
import { utf8 } from '../../base/bytes.ts'
import { reportOf } from '../../base/errors.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import type { Log } from '../../base/log.ts'
import { parseJobId, parseVmName } from '../../base/names.ts'
import { readHeader } from '../../qrexec/header.ts'
import { HostError } from '../errors.ts'
import type { Sandbox, Sandboxes } from '../sandboxes.ts'
import { connectSocket, type Listener, listenSocket } from './socket.ts'

/*
 * How dom0 has disposables started. On Qubes it would do so itself; here it is behind walls of its own, inside which
 * the kernel lets it build no others, so that the host does it. One connection is one sandbox: JSON with job and limits
 * and a NUL, JSON with the VM's name and a NUL back, and then the sandbox's standard input and output. dom0 never
 * half-closes it: a connection that was half-closed shows no later close, so the end of what dom0 sends is dom0's end,
 * and destroys the sandbox.
 */

const headerBytesMax = 4096
/** The host needs a moment to start a VM. */
const headerMilliseconds = 60_000

const limits = { bytesMax: headerBytesMax, milliseconds: headerMilliseconds }

const parseOrder = fields('sandbox', {
  job: is.name(parseJobId),
  memoryBytesMax: is.integer(1),
  millisecondsMax: is.integer(1),
})
const parseReply = fields('reply', {
  vm: is.optional(is.name(parseVmName)),
  error: is.optional(is.string(4000)),
})

/** The host's end. `path` must be reachable by dom0 alone. */
export function serveSandboxes(path: string, sandboxes: Sandboxes, log: Log): Promise<Listener> {
  return listenSocket(path, stream => {
    stream.on('error', () => {})
    const gone = new AbortController()
    const leave = () => gone.abort(new HostError('SANDBOX_GONE', 'dom0 has gone'))
    stream.once('end', leave).once('close', leave)
    const serve = async () => {
      const order = (await readHeader(stream, limits)).parse(bytes =>
        parseOrder(parseJson(bytes, { bytesMax: headerBytesMax })),
      )
      await using sandbox = await sandboxes.start(order.job, order, gone.signal)
      stream.write(`${JSON.stringify({ vm: sandbox.vm })}\0`)
      await Promise.all([
        pipeline(stream, sandbox.channel, { signal: gone.signal }).catch(() => {}),
        pipeline(sandbox.channel, stream, { signal: gone.signal }),
      ])
      await sandbox.ended
    }
    serve()
      .catch(error => {
        log.warn('sandbox ended', { error })
        if (!stream.destroyed) stream.end(`${JSON.stringify({ error: reportOf(error).message })}\0`)
      })
      .finally(() => stream.destroySoon())
  })
}

/** dom0's end. */
export function sandboxesThrough(path: string): Sandboxes {
  return {
    async start(job, { memoryBytesMax, millisecondsMax }, signal): Promise<Sandbox> {
      signal.throwIfAborted()
      const channel = await connectSocket(path)
      const ended = new Promise<number>(resolve => channel.once('close', failed => resolve(failed ? 1 : 0)))
      channel.on('error', () => {})
      const cut = () => channel.destroy(signal.reason)
      signal.addEventListener('abort', cut, { once: true })
      channel.once('close', () => signal.removeEventListener('abort', cut))
      try {
        channel.write(utf8(`${JSON.stringify({ job, memoryBytesMax, millisecondsMax })}\0`))
        const { vm, error } = (await readHeader(channel, limits)).parse(bytes =>
          parseReply(parseJson(bytes, { bytesMax: headerBytesMax })),
        )
        if (vm === undefined) throw new HostError('VM_START', `no sandbox: ${error ?? 'no reason given'}`)
        return {
          vm,
          channel,
          ended,
          async [Symbol.asyncDispose]() {
            channel.destroy()
            await ended
          },
        }
      } catch (error) {
        channel.destroy()
        signal.throwIfAborted()
        throw error
      }
    },
  }
}
