import type { Milliseconds } from '../../base/brand.ts'
import type { Clock } from '../../base/environment.ts'
import { errnoOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'
import type { VmName } from '../../base/names.ts'
import { serviceNodeFlags } from '../../base/node-flags.ts'
import { HostError } from '../errors.ts'
import type { Bind, Product, Walls } from './bubblewrap.ts'
import { connectSocket } from './socket.ts'
import { keepLog } from './vm-log.ts'
import { spawnWalled, type WalledProcess } from './walled-process.ts'

/*
 * Starts the service VMs of the local host in order, waits until each answers, restarts what crashes, and stops all in
 * the opposite order. A VM that keeps crashing is left alone and shown as failed.
 */

const readyMilliseconds = 30_000
const readyPollMilliseconds = 50
const stopMilliseconds = 5_000
const restartsMax = 12
/** Restarts longer ago than this are forgotten. */
const restartsWindowMilliseconds = 60_000
const backoffMillisecondsMin = 200
const backoffMillisecondsMax = 5_000

export interface ServiceVm {
  readonly name: VmName
  /** Arguments of Node: the entry file and its own. */
  readonly command: readonly string[]
  readonly binds: readonly Bind[]
  readonly network: boolean
  readonly environment?: Readonly<Record<string, string>>
  /** The Unix socket that it opens when it is ready; `null` for one that serves nothing. */
  readonly readySocket: string | null
}

export type VmState = 'stopped' | 'starting' | 'running' | 'failed'

export interface VmStatus {
  readonly name: VmName
  readonly state: VmState
  readonly restarts: number
}

export interface SupervisorOptions {
  readonly vms: readonly ServiceVm[]
  readonly walls: Walls
  readonly product: Product
  /** `<vm>.log` is appended to, mode 0600. */
  readonly logDirectory: string
  readonly clock: Clock
  readonly log: Log
}

export interface Supervisor {
  /** In the order given, each when the one before answers. On failure all are stopped again, and `VM_START` thrown. */
  start(): Promise<void>
  stop(): Promise<void>
  status(): readonly VmStatus[]
  /** The VM's Node process, by its number on the host. */
  pidOf(vm: VmName): Promise<number | null>
  kill(vm: VmName, signal: NodeJS.Signals): Promise<void>
}

export function createSupervisor(options: SupervisorOptions): Supervisor {
  const managed = options.vms.map(vm => new ManagedVm(vm, options))
  const find = (name: VmName) => {
    const found = managed.find(({ vm }) => vm.name === name)
    if (found === undefined) throw new HostError('VM_MISSING', `there is no service VM ${name}`)
    return found
  }
  const stop = async () => {
    for (const one of managed.toReversed()) await one.stop()
  }
  return {
    async start() {
      try {
        for (const one of managed) await one.start()
      } catch (error) {
        await stop()
        throw error
      }
    },
    stop,
    status: () => managed.map(one => one.status()),
    pidOf: name => find(name).pid(),
    kill: (name, signal) => find(name).kill(signal),
  }
}

class ManagedVm {
  readonly vm: ServiceVm
  readonly #options: SupervisorOptions
  #process: WalledProcess | null = null
  #state: VmState = 'stopped'
  #stopping = new AbortController()
  #restarts: Milliseconds[] = []
  #logged: Promise<void> = Promise.resolve()

  constructor(vm: ServiceVm, options: SupervisorOptions) {
    this.vm = vm
    this.#options = options
  }

  status(): VmStatus {
    return { name: this.vm.name, state: this.#state, restarts: this.#restarts.length }
  }

  async pid(): Promise<number | null> {
    return (await this.#process?.pid()) ?? null
  }

  async kill(signal: NodeJS.Signals): Promise<void> {
    const pid = await this.pid()
    if (pid === null) return
    try {
      process.kill(pid, signal)
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error
    }
  }

  async start(): Promise<void> {
    if (this.#state === 'running' || this.#state === 'starting') return
    this.#stopping = new AbortController()
    this.#restarts = []
    await this.#launch()
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    const running = this.#process
    this.#state = 'stopped'
    if (running === null) return
    await this.kill('SIGTERM')
    const ended = new AbortController()
    running.exited.then(() => ended.abort())
    await this.#options.clock.sleep(stopMilliseconds, ended.signal).catch(() => {})
    if (!ended.signal.aborted) {
      this.#options.log.warn('killed: it did not stop', { vm: this.vm.name })
      running.destroy()
      await running.exited
    }
    await this.#logged
  }

  async #launch(): Promise<void> {
    const stopping = this.#stopping.signal
    this.#state = 'starting'
    try {
      const started = await this.#spawn()
      this.#process = started
      if (stopping.aborted) throw new HostError('VM_START', `${this.vm.name} was stopped while starting`)
      const exited = started.exited.then(status => {
        // One that is slow to die must not take away the one started after it.
        if (this.#process === started) this.#process = null
        return status
      })
      await this.#ready(exited)
      this.#state = 'running'
      exited.then(status => this.#crashed(status))
    } catch (error) {
      this.#state = stopping.aborted ? 'stopped' : 'failed'
      this.#process?.destroy()
      throw error
    }
    this.#options.log.info('VM runs', { vm: this.vm.name })
  }

  async #spawn(): Promise<WalledProcess> {
    const { logDirectory, walls, product, log } = this.#options
    const { name, command, binds, network, environment = {} } = this.vm
    const spawned = await spawnWalled({
      walls,
      product,
      view: { vm: name, binds, network, environment, disableUserns: walls.disableUserns },
      command: [product.node, ...serviceNodeFlags, ...command],
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const { stdout, stderr } = spawned.child
    this.#logged = keepLog(logDirectory, name, [stdout, stderr], log)
    return spawned
  }

  /** Until the VM's socket takes a connection; throws when it has ended instead or takes too long. */
  async #ready(exited: Promise<number>): Promise<void> {
    const { clock } = this.#options
    const { name, readySocket } = this.vm
    if (readySocket === null) return
    let status: number | null = null
    exited.then(found => {
      status = found
    })
    const end = clock.monotonic() + readyMilliseconds
    while (clock.monotonic() < end) {
      if (status !== null)
        throw new HostError('VM_START', `${name} ended with status ${status} while starting`)
      const socket = await connectSocket(readySocket).catch(() => null)
      if (socket !== null) {
        socket.destroy()
        return
      }
      await clock.sleep(readyPollMilliseconds)
    }
    throw new HostError('VM_START', `${name} did not answer within ${readyMilliseconds} ms`)
  }

  async #crashed(status: number): Promise<void> {
    const { clock, log } = this.#options
    const stopping = this.#stopping.signal
    if (stopping.aborted) return
    const now = clock.monotonic()
    this.#restarts = [...this.#restarts.filter(time => time > now - restartsWindowMilliseconds), now]
    if (this.#restarts.length > restartsMax) {
      this.#state = 'failed'
      log.error('VM keeps crashing and is left alone', { vm: this.vm.name, status })
      return
    }
    this.#state = 'starting'
    const pause = Math.min(backoffMillisecondsMax, backoffMillisecondsMin * 2 ** (this.#restarts.length - 1))
    log.warn('VM crashed and is started again', { vm: this.vm.name, status, pause })
    try {
      await clock.sleep(pause, stopping)
      await this.#launch()
    } catch (error) {
      if (stopping.aborted) return
      log.error('VM could not be started again', { vm: this.vm.name, error })
      await this.#crashed(status)
    }
  }
}
