import { mkdir, truncate, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { onTestFinished } from 'vitest'
import { toBase64, utf8 } from '../../src/base/bytes.ts'
import { type Environment, systemEnvironment } from '../../src/base/environment.ts'
import { type Log, silentLog } from '../../src/base/log.ts'
import {
  type IdempotencyKey,
  type ProfileName,
  parseDigest,
  parseIdempotencyKey,
  parseProfileName,
  parseVmName,
  type VmName,
} from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { generateEd25519, signEd25519 } from '../../src/crypto/signing.ts'
import { JobBoard } from '../../src/engine/jobs.ts'
import type { Order } from '../../src/engine/order.ts'
import { Orders } from '../../src/engine/orders.ts'
import type { EnginePorts, SealedConfiguration } from '../../src/engine/ports.ts'
import { systemCommands } from '../../src/host/commands.ts'
import { localInventory } from '../../src/host/local/inventory.ts'
import { localVolumes } from '../../src/host/local/volumes.ts'
import type { VolumeSource } from '../../src/host/volumes.ts'
import type { ReleaseRequest } from '../../src/hsm/passphrase-service.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { RecordedLedger } from '../../src/main/ledger-port.ts'
import { type Configuration, type HsmBinding, parseConfiguration } from '../../src/profiles/config.ts'
import type { Profile } from '../../src/profiles/profile.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import { ThreadBudget } from '../../src/repository/thread-budget.ts'
import type { ObjectStore } from '../../src/storage/object-store.ts'
import { UploadBudget } from '../../src/storage/upload-budget.ts'
import { MemoryStore } from './memory-store.ts'
import { discard, scratch } from './scratch.ts'

export const passphraseText = 'correct-horse-battery-staple-0123456789'

/** dom0's engine on a real ledger, real images and a real repository, with a storage in memory and no walls. */
export interface EngineBench extends AsyncDisposable {
  readonly directory: string
  readonly machine: string
  readonly ports: EnginePorts
  readonly ledger: RecordedLedger
  readonly storage: MemoryStore
  readonly released: ReleaseRequest[]
  readonly profile: ProfileName
  orders: Orders
  /** Another look at the ledger's files. */
  openLedger(): Promise<Ledger>
  /** As after a crash: a new engine on what is on the disk. */
  restart(): Promise<Orders>
}

export interface BenchOptions {
  readonly profileText?: string
  readonly release?: (request: ReleaseRequest, signal: AbortSignal) => Promise<Secret>
  readonly wrapStorage?: (store: ObjectStore) => ObjectStore
  readonly wrapVolumes?: (source: VolumeSource) => VolumeSource
  readonly environment?: Environment
  readonly log?: Log
  readonly examiner?: EnginePorts['examiner']
  /** Instead of a witness who always signs. */
  readonly publish?: () => Promise<void>
  readonly scrub?: EnginePorts['scrub']
  readonly openStorage?: (open: EnginePorts['storage']) => EnginePorts['storage']
  readonly ports?: Partial<EnginePorts>
}

export async function makeBench(options: BenchOptions = {}): Promise<EngineBench> {
  const directory = scratch('engine')
  const machine = path.join(directory, 'machine')
  await makeVm(machine, 'work', 3 * 1024 * 1024, 'work data')
  await makeVm(machine, 'personal', 2 * 1024 * 1024, 'personal data')
  for (const service of services) await makeServiceVm(machine, service)
  const environment = options.environment ?? systemEnvironment
  const key = generateEd25519(environment.entropy)
  const signer = {
    publicKey: key.publicKey,
    sign: async (message: Uint8Array) => signEd25519(key.privateKey, message),
  }
  const ledgerOptions = { origin: 'test/ledger', signer, clock: environment.clock }
  await Ledger.create(path.join(directory, 'ledger'), ledgerOptions)
  const openLedger = () => Ledger.open(path.join(directory, 'ledger'), ledgerOptions)
  const storage = new MemoryStore({ appendOnly: false })
  const released: ReleaseRequest[] = []
  const ledger = await RecordedLedger.open(await openLedger(), options.publish ?? (async () => {}))
  const value = testConfiguration(options.profileText, key.publicKey)
  const volumes = localVolumes({
    root: machine,
    copies: path.join(directory, 'copies'),
    ...environment,
    commands: systemCommands,
    boot: null,
    log: options.log ?? silentLog,
  })
  const openStorage: EnginePorts['storage'] = async () =>
    disposable(options.wrapStorage?.(storage) ?? storage)
  const ports: EnginePorts = {
    environment,
    log: options.log ?? silentLog,
    configuration: { current: async () => ({ value, version: 1, digest: parseDigest('ab'.repeat(32)) }) },
    ledger,
    passphrases: () => ({
      async release(request, _entry, signal) {
        released.push(request)
        return options.release?.(request, signal) ?? Secret.take(utf8(passphraseText))
      },
    }),
    inventory: localInventory(machine),
    volumes: options.wrapVolumes?.(volumes) ?? volumes,
    storage: options.openStorage?.(openStorage) ?? openStorage,
    prunable: async () => disposable(storage),
    uploads: new UploadBudget(environment.clock, null),
    threads: new ThreadBudget(),
    power: { now: async () => 'mains' },
    scrub: options.scrub ?? (() => Promise.reject(new Error('no scrub'))),
    examiner: options.examiner ?? {
      check: async () => Promise.reject(new Error('no examiner')),
      restore: async () => Promise.reject(new Error('no examiner')),
    },
    drills: noDrills,
    directory: path.join(directory, 'state'),
    ...options.ports,
  }
  const open = async () => {
    const orders = new Orders(ports, await JobBoard.open(path.join(directory, 'state', 'jobs')))
    await orders.recover()
    return orders
  }
  const bench: EngineBench = {
    directory,
    machine,
    ports,
    ledger,
    storage,
    released,
    profile: parseProfileName('nightly'),
    orders: await open(),
    openLedger,
    async restart() {
      bench.orders = await open()
      return bench.orders
    },
    async [Symbol.asyncDispose]() {
      storage.faults = {}
      await bench.orders.close()
      await discard(directory)
    },
  }
  return bench
}

/** A bench of the test that runs, or is about to; it ends with that. */
export async function testBench(options?: BenchOptions): Promise<EngineBench> {
  const bench = await makeBench(options)
  onTestFinished(() => bench[Symbol.asyncDispose]())
  return bench
}

const noDrill = () => Promise.reject(new Error('no drills'))
const noDrills: EnginePorts['drills'] = {
  rooms: { begin: noDrill },
  restoreInto: noDrill,
  examine: noDrill,
  boot: noDrill,
  report: noDrill,
  readReport: async () => null,
}

let keys = 0
export const newKey = (): IdempotencyKey => parseIdempotencyKey(`key-${String(++keys).padStart(8, '0')}`)

/** Of the management VM, for a backup of the bench's profile, unless `more` says otherwise. */
export function orderOf({ profile }: EngineBench, more: Partial<Order> = {}): Order {
  return { kind: 'backup', profile, initiator: mgmt, key: newKey(), ifRunning: 'refuse', ...more }
}

/** Such an order, to its end. */
export async function run(one: EngineBench, more?: Partial<Order>): Promise<Job> {
  return one.orders.ended((await one.orders.order(orderOf(one, more))).id)
}

/** The store itself, which lives on. */
function disposable<Store extends ObjectStore>(store: Store): Store & AsyncDisposable {
  return new Proxy(store, {
    get: (target, name) => {
      if (name === Symbol.asyncDispose) return async () => {}
      const member = Reflect.get(target, name) as unknown
      return typeof member === 'function' ? member.bind(target) : member
    },
  }) as Store & AsyncDisposable
}

/** A sparse image of `bytes` with some data at its begin and end. */
export async function makeVm(machine: string, name: string, bytes: number, text: string): Promise<string> {
  const directory = path.join(machine, name)
  await mkdir(directory, { recursive: true })
  const image = path.join(directory, 'private.img')
  await writeFile(image, text.repeat(20_000))
  await truncate(image, bytes)
  await writeVmFile(directory, { ...vmDefault, tags: ['backup'], volumes: { private: 'private.img' } })
  return image
}

/** The VMs that `testProfile` names for its storage and its passphrase. */
const services = ['store', 'vault']

async function makeServiceVm(machine: string, name: string): Promise<void> {
  const directory = path.join(machine, name)
  await mkdir(directory, { recursive: true })
  await writeVmFile(directory, { ...vmDefault, includeInBackups: false })
}

const vmDefault = { class: 'AppVM', tags: [], running: false, includeInBackups: true, volumes: {} }

async function writeVmFile(directory: string, vm: object): Promise<void> {
  await writeFile(path.join(directory, 'vm.json'), JSON.stringify(vm))
}

export const testProfile = `
include: [ work, personal ]
destination_vm: store
destination_path: /backups
passphrase_vm: vault
`

function testConfiguration(profileText = testProfile, ledgerKey: Uint8Array): Configuration {
  const other = generateEd25519(systemEnvironment.entropy)
  const binding = {
    epoch: 1,
    envelope: 'cd'.repeat(32),
    stock_passphrase: false,
    purposes: ['backup', 'check', 'restore', 'prune'],
    releases_per_day: null,
  }
  const roles = {
    hsm: ['vault'],
    storage: ['store'],
    management: ['mgmt'],
    keys: { dom0: toBase64(ledgerKey), hsm: toBase64(other.publicKey) },
  }
  return parseConfiguration(
    new Map([
      ['profiles/nightly.conf', utf8(profileText)],
      ['hsm/nightly.json', utf8(JSON.stringify(binding))],
      ['roles.json', utf8(JSON.stringify(roles))],
    ]),
  )
}

/** As an update of the sealed configuration does, of the bench's profile or of another one like it. */
export async function seal(
  one: EngineBench,
  change: (profile: Profile, binding: HsmBinding) => { profile?: Profile; binding?: HsmBinding },
): Promise<SealedConfiguration> {
  const { value, version } = await one.ports.configuration.current()
  const profile = value.profiles.get(one.profile)
  const binding = value.bindings.get(one.profile)
  if (profile === undefined || binding === undefined) throw new Error('the profile is not there')
  const changed = { profile, binding, ...change(profile, binding) }
  const { name } = changed.profile
  const sealed: SealedConfiguration = {
    value: {
      ...value,
      profiles: new Map(value.profiles).set(name, changed.profile),
      bindings: new Map(value.bindings).set(name, changed.binding),
    },
    version: version + 1,
    digest: parseDigest(sha256Hex(utf8(`version ${version + 1}`))),
  }
  Object.assign(one.ports, { configuration: { current: async () => sealed } })
  return sealed
}

export const mgmt: VmName = parseVmName('mgmt')
