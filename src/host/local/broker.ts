import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Duplex } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { errnoOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { VmName } from '../../base/names.ts'
import {
  type ConnectRequest,
  descriptorBytesMax,
  encodeDescriptor,
  parseConnectRequest,
} from '../../qrexec/framing.ts'
import { readHeader } from '../../qrexec/header.ts'
import { type Decision, evaluate } from '../../qrexec/policy.ts'
import { denyAll, type Policy } from '../../qrexec/policy-files.ts'
import { renderPlace } from '../../qrexec/policy-rules.ts'
import { type DomainInfo, isDom0, nameOf, type SystemInfo } from '../../qrexec/policy-system.ts'
import { HostError } from '../errors.ts'
import { clearAway } from './clear-away.ts'
import { connectSocket, type Listener, listenSocket } from './socket.ts'
import { exitCodes } from './status.ts'

/*
 * What qrexec-daemon and qrexec-policy-daemon are on Qubes, for a machine without it. Each VM has a directory of its
 * own, bound into that VM only:
 *   <run>/<vm>/qrexec.sock    the broker listens; who connects is that VM, whatever it says
 *   <run>/<vm>/services.sock  the VM listens; the broker connects here for calls that policy allows
 *
 * A caller sends `TARGET SP SERVICE+ARGUMENT NUL` and gets one status byte; after 0 the stream is the service's.
 */

const connectionsPerVmMax = 64
const headerMilliseconds = 5_000

export interface BrokerOptions {
  /** Holds one directory a VM; mode 0700. */
  readonly runDirectory: string
  /** The VMs that policy is judged by, asked for at every call. VMs added with a description need not be in it. */
  readonly system: () => SystemInfo
  readonly log: Log
}

export interface Broker {
  /** Creates the VM's directory and socket, before the VM starts. Returns the directory. */
  addVm(name: VmName, description?: DomainInfo): Promise<string>
  /** Cuts its connections and removes its directory. */
  removeVm(name: VmName): Promise<void>
  /** For all calls from now on. Until there is a policy every call is denied. */
  setPolicy(policy: Policy): void
  close(): Promise<void>
}

interface BrokerVm {
  readonly listener: Listener
  readonly description: DomainInfo | undefined
  connections: number
}

export function createBroker({ runDirectory, system, log }: BrokerOptions): Broker {
  const vms = new Map<VmName, BrokerVm>()
  let policy = denyAll

  const systemNow = (): SystemInfo => {
    const domains = new Map(system().domains)
    for (const [name, { description }] of vms) if (description) domains.set(name, description)
    return { domains }
  }

  const serve = async (source: VmName, stream: Duplex): Promise<void> => {
    const limits = { bytesMax: descriptorBytesMax, milliseconds: headerMilliseconds }
    const request = parseConnectRequest(await readHeader(stream, limits))
    const decision = evaluate(policy, { ...request, source }, systemNow())
    record(log, source, request, decision)
    if (decision.result !== 'allow') return answer(stream, exitCodes.refused)
    const target = nameOf(decision.target, systemNow())
    // A disposable on request has no counterpart here: sandboxes are started by dom0 alone.
    if (target === null) return answer(stream, exitCodes.failed)
    await connectTo(join(runDirectory, target, 'services.sock'), stream, source, target, request)
  }

  return {
    async addVm(name, description) {
      if (vms.has(name)) throw new HostError('VM_INVALID', `the VM ${name} is there already`)
      const directory = join(runDirectory, name)
      // Whatever an earlier life of the VM has put there, a directory in the place of a socket among it.
      await clearAway(directory, log)
      await mkdir(directory, { recursive: true, mode: 0o700 })
      const accept = (stream: Duplex) => {
        if (vm.connections >= connectionsPerVmMax) {
          log.warn('too many connections', { source: name, connectionsPerVmMax })
          answer(stream, exitCodes.failed)
          return
        }
        vm.connections += 1
        serve(name, stream)
          .catch(error => {
            log.warn('connection broken', { source: name, error })
            stream.destroy()
          })
          .finally(() => {
            vm.connections -= 1
          })
      }
      const listener = await listenSocket(join(directory, 'qrexec.sock'), accept)
      const vm: BrokerVm = { listener, description, connections: 0 }
      vms.set(name, vm)
      return directory
    },
    async removeVm(name) {
      const vm = vms.get(name)
      if (vm === undefined) return
      vms.delete(name)
      await vm.listener.close()
      await clearAway(join(runDirectory, name), log)
    },
    setPolicy(next) {
      policy = next
    },
    async close() {
      await Promise.all([...vms.values()].map(({ listener }) => listener.close()))
      vms.clear()
    },
  }
}

/** The service descriptor, then both streams joined. Resolves when both directions have ended. */
async function connectTo(
  path: string,
  caller: Duplex,
  source: VmName,
  target: string,
  request: ConnectRequest,
): Promise<void> {
  let service: Duplex
  try {
    service = await connectSocket(path)
  } catch (error) {
    answer(caller, errnoOf(error) === 'ENOENT' ? exitCodes.noService : exitCodes.failed)
    throw error
  }
  const descriptor = { service: request.service, argument: request.argument, source }
  service.write(
    encodeDescriptor(isDom0(target) ? { ...descriptor, requested: requestedOf(request.target) } : descriptor),
  )
  caller.write(Uint8Array.of(exitCodes.connected))
  // An end passes on as an end in its own direction only; an error in either ends both.
  await Promise.all([pipeline(caller, service), pipeline(service, caller)])
}

function requestedOf(target: string) {
  if (target === '') return { type: 'keyword', target: 'default' } as const
  return target.startsWith('@')
    ? ({ type: 'keyword', target: target.slice(1) } as const)
    : ({ type: 'name', target } as const)
}

function answer(stream: Duplex, status: number): void {
  stream.end(Uint8Array.of(status), () => stream.destroy())
}

/** One line a decision, in qrexec's form. */
function record(log: Log, source: VmName, request: ConnectRequest, decision: Decision): void {
  const call = `${request.service}+${request.argument}: ${source} -> ${request.target || '@default'}`
  const rule = decision.rule ? renderPlace(decision.rule.place) : null
  if (decision.result === 'allow') log.info(`${call}: allowed to ${decision.target}`, { rule })
  else if (decision.result === 'ask') log.warn(`${call}: denied: nobody is there to be asked`, { rule })
  else log.warn(`${call}: denied: ${decision.reason}`, { rule })
}
