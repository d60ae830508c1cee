import { createInterface } from 'node:readline'
import type { Duplex } from 'node:stream'
import { utf8 } from '../../base/bytes.ts'
import type { Entropy } from '../../base/environment.ts'
import { reportOf } from '../../base/errors.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import type { Log } from '../../base/log.ts'
import { parseVmName, type VmName } from '../../base/names.ts'
import type { DomainInfo } from '../../qrexec/policy-system.ts'
import { HostError } from '../errors.ts'
import type { Broker } from './broker.ts'
import { connectSocket, type Listener, listenSocket } from './socket.ts'

/*
 * How whoever starts sandboxes has disposables added to the broker, over a socket. One JSON object a line:
 *   {"create":"disp"}   -> {"name":"disp4711","directory":"…"}
 *   {"remove":"disp…"}  -> {"name":"disp4711","directory":""}
 * Failures answer {"error":"…"}. A connection's disposables end with it, so none outlives its maker.
 */

const lineBytesMax = 4096
const disposablesPerConnectionMax = 16

export const sandboxTag = 'strongroom-sandbox'

const disposable: DomainInfo = {
  type: 'DispVM',
  tags: [sandboxTag],
  running: true,
  templateForDispvms: false,
  defaultDispvm: null,
}

export interface ControlOptions {
  readonly path: string
  readonly broker: Broker
  readonly entropy: Entropy
  readonly log: Log
}

const parseOrder = fields('order', {
  create: is.optional(is.literal('disp')),
  remove: is.optional(is.name(parseVmName)),
})

/** The broker's end. `path` must be reachable by dom0 alone. */
export function serveControl({ path, broker, entropy, log }: ControlOptions): Promise<Listener> {
  return listenSocket(path, stream => {
    const mine = new Set<VmName>()
    const obey = async (line: string): Promise<object> => {
      const { create, remove } = parseOrder(parseJson(utf8(line), { bytesMax: lineBytesMax }))
      if (create !== undefined && mine.size < disposablesPerConnectionMax) {
        const name = disposableName(entropy)
        const directory = await broker.addVm(name, disposable)
        mine.add(name)
        return { name, directory }
      }
      if (remove === undefined || !mine.delete(remove))
        throw new HostError('VM_MISSING', 'no such disposable')
      await broker.removeVm(remove)
      return { name: remove, directory: '' }
    }
    converse(stream, obey)
      .catch(error => log.warn('control connection broken', { error }))
      .finally(async () => {
        stream.destroy()
        for (const name of mine) await broker.removeVm(name).catch(error => log.error('left over', { error }))
      })
  })
}

async function converse(stream: Duplex, obey: (line: string) => Promise<object>): Promise<void> {
  for await (const line of createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY })) {
    const reply = await obey(line).catch(error => ({ error: reportOf(error).message }))
    stream.write(`${JSON.stringify(reply)}\n`)
  }
}

/** Of which there is hardly a second on this machine. */
export function disposableName(entropy: Entropy): VmName {
  const number = Buffer.from(entropy.bytes(4)).readUInt32BE() % 1_000_000_000
  return parseVmName(`disp${number}`)
}

/** A disposable in the broker, for as long as it is not disposed of. */
export interface BrokerDisposable extends AsyncDisposable {
  readonly name: VmName
  /** Holds its `qrexec.sock`. */
  readonly directory: string
}

const parseReply = fields('reply', {
  name: is.optional(is.name(parseVmName)),
  directory: is.optional(is.string(4096)),
  error: is.optional(is.string(4000)),
})

/** dom0's end: a new disposable over a control connection of its own. Throws `BROKER_UNAVAILABLE`. */
export async function createDisposable(controlPath: string): Promise<BrokerDisposable> {
  const stream = await connectSocket(controlPath).catch(cause => {
    throw new HostError('BROKER_UNAVAILABLE', 'the broker cannot be reached', { cause })
  })
  stream.on('error', () => {})
  const lines = createInterface({ input: stream })[Symbol.asyncIterator]()
  const order = async (what: object) => {
    stream.write(`${JSON.stringify(what)}\n`)
    const { value, done } = await lines.next()
    if (done) throw new HostError('BROKER_UNAVAILABLE', 'the broker closed the control connection')
    const { name, directory, error } = parseReply(parseJson(utf8(value), { bytesMax: lineBytesMax }))
    if (name === undefined || directory === undefined)
      throw new HostError('BROKER_UNAVAILABLE', `the broker refused: ${error ?? 'no reason given'}`)
    return { name, directory }
  }
  try {
    const { name, directory } = await order({ create: 'disp' })
    return {
      name,
      directory,
      [Symbol.asyncDispose]: async () => {
        await order({ remove: name }).finally(() => stream.destroy())
      },
    }
  } catch (error) {
    stream.destroy()
    throw error
  }
}
