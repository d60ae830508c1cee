import { type Duplex, duplexPair } from 'node:stream'
import { silentLog } from '../../src/base/log.ts'
import { dom0, type VmName } from '../../src/base/names.ts'
import type { Judge } from '../../src/engine/judge.ts'
import { serveAdmin } from '../../src/engine/serve-admin.ts'
import { encodeDescriptor, type RequestedTarget } from '../../src/qrexec/framing.ts'
import { createServer } from '../../src/qrexec/server.ts'
import { type EngineBench, mgmt } from '../support/engine.ts'

export interface AdminRequest {
  readonly service: string
  readonly argument?: string
  readonly source?: VmName
  readonly requested?: RequestedTarget
  readonly payload?: string
}

export interface AdminClient {
  /** The whole answer of one call, as the caller reads it. */
  ask(request: AdminRequest): Promise<string>
  /** A call whose answer is read by the test. */
  open(request: AdminRequest): Duplex
}

/** Calls of `admin.*` through the real server, descriptor and wire included. */
export function adminClient(bench: EngineBench, judge: Judge = everything): AdminClient {
  const server = createServer(serveAdmin(bench.ports, bench.orders, judge), { log: silentLog })
  const open = ({ service, argument = '', source = mgmt, requested, payload = '' }: AdminRequest) => {
    const [client, served] = duplexPair()
    client.on('error', () => {})
    server.accept(served)
    const target = requested ?? { type: 'name', target: dom0 }
    client.write(encodeDescriptor({ service, argument, source, requested: target }))
    client.end(payload)
    return client
  }
  return {
    open,
    async ask(request) {
      let answer = ''
      const stream = open(request)
      stream.on('data', part => {
        answer += part
      })
      await new Promise(resolve => stream.once('end', resolve).once('close', resolve))
      return answer
    },
  }
}

export const everything: Judge = { allows: () => true }
export const nothing: Judge = { allows: () => false }

/** Allows what is written here as `service+argument target`. */
export function only(...allowed: readonly string[]): Judge {
  return {
    allows: ({ service, argument, target }) => allowed.includes(`${service}+${argument} ${target}`),
  }
}
