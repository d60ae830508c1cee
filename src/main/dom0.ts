import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { GiB } from '../base/bytes.ts'
import { systemEnvironment } from '../base/environment.ts'
import { fields, is } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import type { VmName } from '../base/names.ts'
import { JobBoard } from '../engine/jobs.ts'
import { serveMeasure } from '../engine/measure.ts'
import { Orders } from '../engine/orders.ts'
import type { EnginePorts } from '../engine/ports.ts'
import { SealedSchedules } from '../engine/sealed-schedules.ts'
import { SealedWatch } from '../engine/sealed-watch.ts'
import { serveAdmin } from '../engine/serve-admin.ts'
import { serveEpochs } from '../engine/serve-epochs.ts'
import { serveOrders } from '../engine/serve-orders.ts'
import { systemCommands } from '../host/commands.ts'
import { readBootId } from '../host/local/fingerprint.ts'
import { localInventory } from '../host/local/inventory.ts'
import { FileMeasurer } from '../host/local/measured-files.ts'
import { powerSupplies } from '../host/local/power-supplies.ts'
import { LocalRestores } from '../host/local/restores.ts'
import { sandboxesThrough } from '../host/local/sandbox-door.ts'
import { listenSocket } from '../host/local/socket.ts'
import { dom0Transport } from '../host/local/transport.ts'
import { localVolumes } from '../host/local/volumes.ts'
import { watchDirectory } from '../host/local/watched-directory.ts'
import { uploadBytesPerSecondMin } from '../qrexec/calls/orders.ts'
import { storageGrant } from '../qrexec/calls/storage.ts'
import { createServer } from '../qrexec/server.ts'
import { ThreadBudget } from '../repository/thread-budget.ts'
import { RestoreError } from '../restore/errors.ts'
import { sandboxedExaminer } from '../restore/examine.ts'
import { sealedPlace } from '../sealing/place.ts'
import { grantReading } from '../storage/remote.ts'
import { UploadBudget } from '../storage/upload-budget.ts'
import { dom0Settings, dom0Usage } from '../usage/dom0.ts'
import { runCommand } from './command-line.ts'
import { dom0Drills } from './dom0-drills.ts'
import { initialiseLedger, openDom0Ledger } from './dom0-ledger.ts'
import { dom0Scrub, dom0Storage } from './dom0-storage.ts'
import { anchorStore, openDom0Tpm } from './dom0-tpm.ts'
import { judgeBy, systemOf } from './judge.ts'
import { roleCommand } from './role-command.ts'
import { openConfiguration, openForService, sealedPolicy } from './sealed-configuration.ts'
import { readSettings } from './settings.ts'
import { onStop } from './stop.ts'

/* The dom0 agent: judges orders by the sealed configuration, runs jobs, keeps the ledger. */

const parseSettings = fields('dom0 settings', {
  /** dom0's own directory: `sealed/`, `ledger/`, `ledger-key.der`, `jobs/`, `repositories/`, `copies/`, `restored/`, `drills/`, `reports/`. */
  home: is.string(4000),
  /** The VMs and their volumes. */
  machine: is.string(4000),
  /** One directory a VM, with its `services.sock`. */
  run: is.string(4000),
  /** Where calls for dom0 arrive. */
  services: is.string(4000),
  /** Where disposables are started. */
  sandboxes: is.string(4000),
  /** Where those are started that look into restored volumes. */
  drillSandboxes: is.string(4000),
  /** Where restored VMs are started; absent: the level `boot` cannot be proven. */
  boots: is.optional(is.string(4000)),
  /** How many threads of backups work at once; absent: one a core. */
  threads: is.optional(is.integer(1, 64)),
  /** Absent: none, and nothing can be proven to anyone. */
  tpm: is.optional(
    fields('tpm', {
      device: is.string(4000),
      measurements: is.string(4000),
      storePcr: is.optional(is.integer(0, 23)),
      platformPcrs: is.optional(is.array(is.integer(0, 23), 24)),
    }),
  ),
  /** What all jobs together may send; absent: as much as goes through. */
  uploadBytesPerSecond: is.optional(is.integer(uploadBytesPerSecondMin)),
  /** The qrexec policy in force, to be measured; absent: that of the sealed configuration. */
  policy: is.optional(is.string(4000)),
})
/** What of the product's directory is the product. */
const productFiles = ['node_modules', 'package.json', 'src']
/** Some TPMs make their keys in half a minute. */
const tpmMilliseconds = 120_000
const restoresKeptMax = 16
const drillLimits = { memoryBytesMax: GiB, millisecondsMax: 2 * 3_600_000 }
const sandboxLimits = { memoryBytesMax: 2 * GiB, millisecondsMax: 12 * 3_600_000 }

const { values, positionals } = parseArgs({ allowPositionals: true, options: dom0Usage.options })
const command = roleCommand(dom0Usage, values.help, positionals)
const settings = await readSettings(values.settings ?? dom0Settings, parseSettings)
const environment = systemEnvironment
const { clock } = environment
const log = createLog('dom0')

if (command === 'init') {
  await runCommand(values.json, () => initialiseLedger(settings.home, environment))
  process.exit()
}

const sealed = path.join(settings.home, 'sealed')
const tpm =
  settings.tpm === undefined ? null : openDom0Tpm(settings.home, settings.tpm, new AbortController().signal)
if (command === 'anchor') {
  await runCommand(values.json, async () => {
    if (tpm === null) throw new BaseError('FIELD_INVALID', 'the settings name no tpm')
    return anchorStore(tpm, (await openConfiguration(sealed, clock)).current())
  })
  process.exit()
}

const configuration = await openForService(log, sealed, clock, tpm?.counter ?? null)
const { value, version, digest, expired } = configuration.current()
if (expired)
  log.warn('the sealed configuration has expired: it stays in force, and updates are refused', { version })
const policy = sealedPolicy(value)

const transport = dom0Transport((vm: VmName) => path.join(settings.run, vm, 'services.sock'))
const {
  ledger,
  passphrases,
  handlers: ledgerHandlers,
  signer,
  head,
} = await openDom0Ledger(settings.home, configuration, transport, environment, async head =>
  tpm === null ? null : await tpm.measured({ version, digest }, head, AbortSignal.timeout(tpmMilliseconds)),
)
if (ledger.history.configuration?.digest !== digest)
  await ledger.append([{ type: 'configuration', time: clock.now(), version, digest }])

const inventory = localInventory(settings.machine)
let system = systemOf(await inventory.list(new AbortController().signal))
const judge = judgeBy(
  () => policy,
  () => system,
)

const boot = await readBootId()
const restored = path.join(settings.home, 'restored')
const restores = await LocalRestores.open({ directory: restored, clock, log })
const examiner = sandboxedExaminer({
  sandboxes: sandboxesThrough(settings.sandboxes),
  grant: async (storageVm, repository, signal) =>
    grantReading(await transport.open(storageGrant.service, repository, storageVm, signal)),
  sink: ({ job, snapshot, choice }) =>
    restores.begin({ job, snapshot, resumable: choice.range === null, reuse: choice.reuse }),
  async requireRoom() {
    const count = await restores.count()
    if (count >= restoresKeptMax)
      throw new RestoreError('RESTORES_KEPT', `${count} restores are kept in ${restored}`)
  },
  limits: sandboxLimits,
  log,
})
const { store } = sealedPlace(sealed)
const watch = new SealedWatch({
  recheck: () => configuration.recheck(),
  watch: moved => watchDirectory(store, moved, log),
  clock,
  log,
})
const ports: EnginePorts = {
  environment,
  log,
  configuration: {
    // Every look verifies the files again: a byte that was changed stops the very next order.
    async current() {
      await watch.look()
      return configuration.current()
    },
    get alarm() {
      return watch.alarm
    },
  },
  ledger,
  passphrases,
  inventory: {
    async list(signal) {
      const vms = await inventory.list(signal)
      system = systemOf(vms)
      return vms
    },
  },
  volumes: localVolumes({
    root: settings.machine,
    copies: path.join(settings.home, 'copies'),
    ...environment,
    commands: systemCommands,
    boot,
    log,
  }),
  storage: dom0Storage(transport, clock),
  prunable: dom0Storage(transport, clock),
  uploads: new UploadBudget(clock, settings.uploadBytesPerSecond ?? null),
  threads: new ThreadBudget(settings.threads),
  power: powerSupplies(),
  scrub: dom0Scrub(transport, clock),
  examiner,
  drills: await dom0Drills({
    home: settings.home,
    restorer: examiner,
    sandboxes: sandboxesThrough(settings.drillSandboxes),
    limits: drillLimits,
    boots: settings.boots,
    signer,
    head,
    log,
  }),
  directory: settings.home,
}

const files = new FileMeasurer({ clock, boot })
const measuring = serveMeasure({
  ...ports,
  files: (root, only, signal) => files.measure(root, only, signal),
  async sealedFiles() {
    await watch.look()
    return configuration.files()
  },
  places: {
    store,
    agent: { root: path.join(import.meta.dirname, '../..'), only: productFiles },
    policy: settings.policy ?? null,
  },
})

const orders = new Orders(ports, await JobBoard.open(path.join(settings.home, 'jobs')))
await orders.recover()
const calls = createServer(
  {
    ...serveOrders(ports, orders, judge),
    ...serveAdmin(ports, orders, judge),
    ...serveEpochs(ports),
    ...ledgerHandlers,
    ...measuring,
  },
  { log },
)
const listener = await listenSocket(settings.services, socket => calls.accept(socket))
log.info('ready', { configuration: version, digest, entries: ledger.size })
const stopping = new AbortController()
const scheduled = new SealedSchedules(ports, orders).run(stopping.signal)
const watched = watch.run(stopping.signal)
onStop(log, async () => {
  stopping.abort()
  await scheduled
  await watched
  await orders.close()
  await listener.close()
})
