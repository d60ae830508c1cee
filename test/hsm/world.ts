import { mkdtempSync, rmSync } from 'node:fs'
import { createConnection, createServer as createSocketServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { type Clock, systemEntropy } from '../../src/base/environment.ts'
import { createLog } from '../../src/base/log.ts'
import {
  type Digest,
  dom0,
  parseDigest,
  parseJobId,
  parseProfileName,
  parseVmName,
  type VmName,
} from '../../src/base/names.ts'
import type { Untrusted } from '../../src/base/untrusted.ts'
import { generateEd25519, signEd25519 } from '../../src/crypto/signing.ts'
import { Approvals } from '../../src/hsm/approvals.ts'
import { newEpoch } from '../../src/hsm/commands.ts'
import type { ReleaseRequest } from '../../src/hsm/passphrase-service.ts'
import { newRecoveryKey } from '../../src/hsm/recovery.ts'
import { Releaser, type ReleaserPorts } from '../../src/hsm/releaser.ts'
import { type Attestor, type LedgerEvidence, RemoteHsm } from '../../src/hsm/remote.ts'
import { serveHsm } from '../../src/hsm/serve.ts'
import { HsmStore } from '../../src/hsm/store.ts'
import type { TokenProcess, TokenProcessOptions } from '../../src/hsm/token-process.ts'
import { withWitness } from '../../src/hsm/witness-token.ts'
import { encodeEntry } from '../../src/ledger/entry.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { verifierKey } from '../../src/ledger/note.ts'
import type { Configuration, HsmBinding } from '../../src/profiles/config.ts'
import type { Transport } from '../../src/qrexec/call.ts'
import type { ReleaseCall } from '../../src/qrexec/calls/release.ts'
import { createServer, type Handler } from '../../src/qrexec/server.ts'
import { AttestationVerifier } from '../../src/sealing/verifier.ts'
import { clockAt, countingEntropy, never, TestHsm } from './support.ts'

export const profile = parseProfileName('nightly')
export const names = { origin: 'strongroom.example/dom0', witness: 'strongroom.example/hsm' }
const hsmVm = parseVmName('sys-hsm')
const dom0Key = generateEd25519(countingEntropy(11))
const minute = 60_000

/** dom0 with its ledger and the HSM VM with a real token, joined by a Unix socket that says who calls. */
export class World {
  readonly directory = mkdtempSync(path.join(tmpdir(), 'strongroom-world-'))
  readonly hsm = new TestHsm()
  readonly logged: string[] = []
  readonly recovery = newRecoveryKey(countingEntropy(12))
  /** As the HSM VM has it. */
  configurationDigest: Digest = parseDigest('c'.repeat(64))
  configurationVersion = 1
  readonly approvals = new Approvals({ now: () => this.now })
  /** dom0's TPM. */
  attestor: Attestor | null = null
  /** As qrexec says. */
  source: VmName = dom0
  now = new Date('2026-11-24T03:15:00Z')
  /** What happens when the HSM VM looks at its sealed copy: a disk may not answer. */
  look: () => Promise<void> = async () => {}
  handlers: Readonly<Record<string, Handler>> = {}
  #releaser: Releaser | null = null
  #ports: ReleaserPorts | null = null
  readonly clock = clockAt(() => this.now)
  /** How dom0 waits. */
  sleep: Clock['sleep'] = this.clock.sleep
  #nonces = 0
  #witnessKey = new Uint8Array(32)
  #binding: HsmBinding | null = null
  #ledger: Ledger | null = null
  #store: HsmStore | null = null
  #token: TokenProcess | null = null
  #opener: TokenProcess | null = null
  #sockets: Server | null = null

  /** `opener`: opens envelopes in place of the token that witnesses. */
  static async start(
    options: Partial<TokenProcessOptions> = {},
    opener: TokenProcess | null = null,
  ): Promise<World> {
    const world = new World()
    world.#token = await world.hsm.prepared(options)
    world.#opener = opener
    world.#witnessKey = new Uint8Array((await world.token.publicKeys(never)).witness ?? [])
    world.#ledger = await world.newLedger('ledger')
    await world.startHsm()
    const ports = {
      envelopes: world.store.envelopes,
      token: opener ?? world.token,
      entropy: countingEntropy(13),
    }
    const { epoch, digest } = await newEpoch(ports, profile, [world.recovery.recipient.text], never)
    world.#binding = {
      epoch,
      envelope: digest,
      stockPassphrase: true,
      purposes: ['backup', 'drill'],
      releasesPerDay: 3,
      approve: 'never',
      pinAgain: 'never',
      hours: null,
      attestation: 'none',
      earlier: [],
    }
    return world
  }

  get token(): TokenProcess {
    return present(this.#token)
  }
  get store(): HsmStore {
    return present(this.#store)
  }
  get ledger(): Ledger {
    return present(this.#ledger)
  }
  set ledger(ledger: Ledger) {
    this.#ledger = ledger
  }
  get releaserPorts(): ReleaserPorts {
    return present(this.#ports)
  }
  get releaser(): Releaser {
    return present(this.#releaser)
  }
  get binding(): HsmBinding {
    return present(this.#binding)
  }
  set binding(binding: HsmBinding) {
    this.#binding = binding
  }
  get envelopeFile(): string {
    return path.join(this.directory, 'hsm/envelopes/nightly.e1.age')
  }
  get recordFile(): string {
    return path.join(this.directory, 'hsm/releases.jsonl')
  }

  newLedger(name: string): Promise<Ledger> {
    const witness = verifierKey(names.witness, 'cosignature/v1', this.#witnessKey)
    return Ledger.create(path.join(this.directory, name), {
      origin: names.origin,
      clock: this.clock,
      signer: {
        publicKey: dom0Key.publicKey,
        sign: async message => signEd25519(dom0Key.privateKey, message),
      },
      witnesses: [witness],
    })
  }

  /** The HSM VM's process, from what is on its disk. */
  async startHsm(): Promise<void> {
    await this.stopHsm()
    this.#store = await HsmStore.open(path.join(this.directory, 'hsm'))
    const log = createLog('hsm', line => this.logged.push(line))
    this.#ports = {
      clock: { ...this.clock, sleep: (milliseconds, signal) => this.sleep(milliseconds, signal) },
      entropy: systemEntropy,
      log,
      store: this.store,
      token: this.#opener === null ? this.token : withWitness(this.#opener, this.token),
      configuration: async () => {
        await this.look()
        return {
          value: this.#configuration(),
          version: this.configurationVersion,
          digest: this.configurationDigest,
        }
      },
      ledger: names,
      approvals: this.approvals,
      machine: await AttestationVerifier.open({
        directory: path.join(this.directory, 'hsm'),
        clock: this.clock,
        entropy: systemEntropy,
        roots: [],
      }),
    }
    this.#releaser = new Releaser(this.#ports)
    this.handlers = serveHsm(this.releaser)
    const calls = createServer(this.handlers, { log })
    const sockets = createSocketServer({ allowHalfOpen: true }, stream => calls.accept(stream))
    this.#sockets = sockets
    await new Promise<void>(resolve => sockets.listen(this.#socketPath, resolve))
  }

  async stopHsm(): Promise<void> {
    this.#sockets?.close()
    await this.#store?.[Symbol.asyncDispose]()
  }

  /** An order's request in the ledger, and its entry. */
  async request(change: Partial<ReleaseRequest> = {}): Promise<{ request: ReleaseRequest; entry: number }> {
    this.#nonces += 1
    const request: ReleaseRequest = {
      type: 'release-request',
      time: this.now,
      job: parseJobId('20261124T031500Z-1f2e3d4c'),
      profile,
      purpose: 'backup',
      initiator: parseVmName('sys-mgmt'),
      configuration: parseDigest('c'.repeat(64)),
      epoch: 1,
      expires: new Date(this.now.getTime() + 10 * minute),
      nonce: parseDigest(this.#nonces.toString(16).padStart(64, '0')),
      ...change,
    }
    const { index } = await this.ledger.append([request])
    return { request, entry: index }
  }

  remote(evidence: Partial<LedgerEvidence> = {}): RemoteHsm {
    const { ledger } = this
    const honest: LedgerEvidence = {
      witnessSize: ledger.witnessed[0]?.checkpoint.size ?? 0,
      async head(from) {
        const { size } = ledger
        const checkpoint = ledger.checkpoint()
        return { checkpoint, size, consistency: from <= size ? await ledger.consistency(from, size) : [] }
      },
      inclusion: (index, size) => ledger.inclusion(index, size),
      async cosigned(untrustedLine: Untrusted<string>, size) {
        await ledger.addCosignature(untrustedLine, size)
      },
    }
    return new RemoteHsm({
      transport: this.transport,
      hsmVm,
      ledger: { ...honest, ...evidence },
      attestor: this.attestor,
      clock: { sleep: (milliseconds, signal) => this.sleep(milliseconds, signal) },
    })
  }

  /** What dom0 sends for an honest request. */
  async call(): Promise<ReleaseCall> {
    const { request, entry } = await this.request()
    return {
      entry: encodeEntry(request),
      index: entry,
      checkpoint: this.ledger.checkpoint(),
      inclusion: await this.ledger.inclusion(entry),
      consistency: { from: 0, proof: [] },
      attested: null,
    }
  }

  /** Orders and has the passphrase as text. */
  async release(change: Partial<ReleaseRequest> = {}, signal: AbortSignal = never): Promise<string> {
    const { request, entry } = await this.request(change)
    using passphrase = await this.remote().release(request, entry, signal)
    return passphrase.expose(bytes => Buffer.from(bytes).toString('latin1'))
  }

  readonly transport: Transport = {
    open: async (service, argument) => {
      const stream = createConnection({ path: this.#socketPath, allowHalfOpen: true })
      stream.on('error', () => {})
      stream.write(`${service}+${argument} ${this.source}\0`)
      return stream
    },
  }

  async stop(): Promise<void> {
    await this.stopHsm()
    this.hsm.remove()
    rmSync(this.directory, { recursive: true, force: true })
  }

  get #socketPath(): string {
    return path.join(this.directory, 'hsm.sock')
  }

  #configuration(): Configuration {
    const vm = (name: string) => [parseVmName(name)]
    return {
      profiles: new Map(),
      bindings: new Map(this.#binding === null ? [] : [[profile, this.#binding]]),
      policies: new Map(),
      roles: {
        hsm: vm('sys-hsm'),
        management: vm('sys-mgmt'),
        storage: vm('sys-store'),
        keys: { dom0: dom0Key.publicKey, hsm: this.#witnessKey, management: null },
      },
    }
  }
}

function present<T>(value: T | null): T {
  if (value === null) throw new Error('the world has not been started')
  return value
}
