import path from 'node:path'
import { utf8 } from '../../base/bytes.ts'
import { type LevelVerdict, parseLevelVerdict } from '../../base/drill-levels.ts'
import { type BootRule, parseBootRule } from '../../base/drill-rules.ts'
import { reportOf } from '../../base/errors.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import type { Log } from '../../base/log.ts'
import { type JobId, parseJobId } from '../../base/names.ts'
import { readHeader } from '../../qrexec/header.ts'
import type { BootLimits, BootMachines } from '../boot-machines.ts'
import { HostError } from '../errors.ts'
import { restoredVolumes } from './drill-rooms.ts'
import { connectSocket, type Listener, listenSocket } from './socket.ts'

/*
 * How dom0 has a restored VM started: behind its own walls it cannot build others, so that the host does it. One connection is one
 * machine: JSON with the job, the rule and limits and a NUL, JSON with the verdict and a NUL back. The volumes are those in the
 * job's directory. dom0's end ends the machine.
 */

const headerBytesMax = 4096
const orderMilliseconds = 60_000
/** Beside the time that the rule gives the machine. */
const graceMilliseconds = 60_000

const parseOrder = fields('boot', {
  job: is.name(parseJobId),
  rule: parseBootRule,
  limits: fields('limits', {
    memoryBytes: is.integer(1),
    writtenBytesMax: is.integer(1),
    saidBytesMax: is.integer(1),
  }),
})
const parseReply = fields('reply', {
  verdict: is.optional(parseLevelVerdict),
  error: is.optional(is.string(2000)),
})

/** The host's end. `socket` must be reachable by dom0 alone; `directory` holds a directory of volumes for each job. */
export function serveBoots(
  socket: string,
  machines: BootMachines,
  directory: string,
  log: Log,
): Promise<Listener> {
  return listenSocket(socket, stream => {
    stream.on('error', () => {})
    const gone = new AbortController()
    const leave = () => gone.abort(new HostError('SANDBOX_GONE', 'dom0 has gone'))
    stream.once('end', leave).once('close', leave)
    const serve = async () => {
      const limits = { bytesMax: headerBytesMax, milliseconds: orderMilliseconds }
      const order = (await readHeader(stream, limits)).parse(bytes =>
        parseOrder(parseJson(bytes, { bytesMax: headerBytesMax })),
      )
      const volumes = await restoredVolumes(path.join(directory, order.job))
      return await machines.boot(order.rule, volumes, order.limits, gone.signal)
    }
    serve()
      .then(
        verdict => ({ verdict }),
        error => {
          log.warn('no virtual machine was started', { error })
          return { error: reportOf(error).message }
        },
      )
      .then(reply => {
        if (!stream.destroyed) stream.end(`${JSON.stringify(reply)}\0`)
      })
      .finally(() => stream.destroySoon())
  })
}

/** dom0's end. Throws `BOOT_UNAVAILABLE` where no machine could be started, and the signal's reason. */
export async function bootThrough(
  socket: string,
  job: JobId,
  rule: BootRule,
  limits: BootLimits,
  signal: AbortSignal,
): Promise<LevelVerdict> {
  signal.throwIfAborted()
  const channel = await connectSocket(socket)
  channel.on('error', () => {})
  const cut = () => channel.destroy(signal.reason)
  signal.addEventListener('abort', cut, { once: true })
  try {
    channel.write(utf8(`${JSON.stringify({ job, rule, limits })}\0`))
    const milliseconds = rule.secondsMax * 1000 + graceMilliseconds
    const { verdict, error } = (await readHeader(channel, { bytesMax: headerBytesMax, milliseconds })).parse(
      bytes => parseReply(parseJson(bytes, { bytesMax: headerBytesMax })),
    )
    if (verdict?.level === 'boot') return verdict
    throw new HostError('BOOT_UNAVAILABLE', error ?? 'the host gave no verdict')
  } catch (error) {
    signal.throwIfAborted()
    throw error
  } finally {
    signal.removeEventListener('abort', cut)
    channel.destroy()
  }
}
