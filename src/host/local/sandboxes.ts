import type { Clock } from '../../base/environment.ts'
import type { Log } from '../../base/log.ts'
import type { Sandboxes } from '../sandboxes.ts'
import { createDisposable } from './broker-control.ts'
import type { Product, Walls } from './bubblewrap.ts'
import { sandboxMarker } from './marker.ts'
import { limitResources } from './resource-limits.ts'
import { nodeArguments, startSandboxProcess } from './sandbox-process.ts'

export interface LocalSandboxesOptions {
  readonly walls: Walls
  readonly product: Product
  /** The program inside, as Node's arguments; the path of its qrexec socket is added as the last one. */
  readonly command: readonly string[]
  /** The broker's control socket. */
  readonly controlSocket: string
  readonly clock: Clock
  readonly log: Log
}

/** Disposables of the local host: a process in every namespace of its own, known to the broker under a fresh name. */
export function localSandboxes(options: LocalSandboxesOptions): Sandboxes {
  const { walls, product, clock, log } = options
  return {
    async start(job, limits, signal) {
      signal.throwIfAborted()
      const cleanup = new AsyncDisposableStack()
      try {
        const vm = cleanup.use(await createDisposable(options.controlSocket))
        const { memoryBytesMax } = limits
        const resources = await limitResources(vm.name, { memoryBytesMax }, clock)
        cleanup.defer(() => resources.remove())
        const walled = {
          walls,
          product,
          view: {
            vm: vm.name,
            binds: [{ from: vm.directory, write: false }],
            network: false,
            environment: { [sandboxMarker]: vm.name },
            disableUserns: walls.disableUserns,
          },
          command: [
            product.node,
            ...nodeArguments(limits),
            ...options.command,
            `${vm.directory}/qrexec.sock`,
          ],
          wrapper: resources.wrapper,
        }
        const sandbox = await startSandboxProcess(vm.name, walled, limits, log, cleanup, signal)
        log.info('sandbox started', { job, vm: vm.name })
        return sandbox
      } catch (error) {
        await cleanup.disposeAsync()
        throw error
      }
    },
  }
}
