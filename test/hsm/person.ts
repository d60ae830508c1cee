import { type Duplex, duplexPair } from 'node:stream'
import { createLog } from '../../src/base/log.ts'
import type { Verdict } from '../../src/hsm/approvals.ts'
import { decideRelease, serveControl } from '../../src/hsm/control.ts'
import { pinProof } from '../../src/hsm/pin-proof.ts'
import type { TokenProcessOptions } from '../../src/hsm/token-process.ts'
import { thisVm } from '../../src/main/hsm-service.ts'
import type { Transport } from '../../src/qrexec/call.ts'
import { callOver } from '../../src/qrexec/client.ts'
import { encodeDescriptor } from '../../src/qrexec/framing.ts'
import { createServer, type Server } from '../../src/qrexec/server.ts'
import { never, secret, type TestHsm } from './support.ts'
import type { World } from './world.ts'

const minute = 60_000

/** Whoever sits at the HSM VM of a world, with the half of the service that hears her. */
export class Person {
  readonly #control: Server
  /** Where the token is that is asked about a PIN, and by which module. */
  hsm: TestHsm
  module: Partial<TokenProcessOptions> = {}

  constructor(world: World) {
    this.hsm = world.hsm
    const provePin = pinProof(world.token, login => this.hsm.token({ ...login, ...this.module }))
    const log = createLog('hsm', line => world.logged.push(line))
    const ports = { ...world.releaserPorts, log, releaser: world.releaser, transport: null, provePin }
    this.#control = createServer(serveControl(world.approvals, ports), { log })
  }

  accept(stream: Duplex): void {
    this.#control.accept(stream)
  }

  async say(code: string, verdict: Verdict, pin: string | null = null): Promise<void> {
    const transport: Transport = {
      open: async (service, argument) => {
        const [here, there] = duplexPair()
        this.accept(there)
        here.write(encodeDescriptor({ service, argument, source: thisVm }))
        return here
      },
    }
    const said = { code, verdict, pin: pin === null ? null : secret(pin) }
    await callOver(transport, decideRelease, thisVm, '', said, never, minute)
  }
}
