import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { dom0, type VmName } from '../../../src/base/names.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import type { Job } from '../../../src/qrexec/calls/orders.ts'
import { scanFiles } from '../leak/files.ts'
import { type Extent, processTree, scanMemory } from '../leak/memory.ts'
import { describeFindings, type Needle, textNeedles } from '../leak/needles.ts'
import { Recorder } from '../leak/recorder.ts'
import { Marker, masterKeyNeedles, recoverPassphrase } from '../leak/secrets.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

const MiB = 1024 * 1024
const markedBytes = 32 * MiB
const backupsMax = 8
const betweenScansMilliseconds = 50
const receiverScansMax = 20
const receiverRunsMilliseconds = 5
const blind = [serviceVms.management, serviceVms.storage] as const

/**
 * Everything that the management and the storage VM hold, searched while a backup runs. "Nothing found" counts only as
 * far as the same search is shown to see: the secrets in dom0, and the profile's name in the two VMs themselves.
 */
export const leakTest: Scenario = {
  summary: 'memory, files and traffic of management and storage hold no passphrase, no key, no plaintext',
  async run(say) {
    const profile = `leak-${randomBytes(12).toString('hex')}`
    await using system = await LocalSystem.start({ images: { work: 160 }, fillMiB: 1, profile, say })
    await using watch = await Watch.start(system)
    await system.backup()
    const passphrase = await recoverPassphrase(system)
    const marker = new Marker()
    watch.secrets = [
      ...textNeedles('the passphrase', passphrase),
      ...(await masterKeyNeedles(system, passphrase)),
      ...marker.needles,
    ]
    say('repository made; passphrase and master key recovered with the recovery key')

    for (let backup = 1; backup <= backupsMax && !watch.sawAllIn(dom0); backup++) {
      await marker.plant(system.image('work'), `marked-${backup}`, markedBytes)
      const job = await watch.whileRunning(await system.api.order({ profile }))
      say(`backup of ${markedBytes / MiB} MiB with markers: ${job.outcome?.bytesStored} bytes stored`)
    }
    const names = [...new Set(watch.secrets.map(({ name }) => name))]
    for (const name of names) must(watch.saw(dom0, name), `the scan of dom0 did not see ${name}`)
    say(`memory of dom0: ${names.join(', ')} seen`)

    for (const vm of blind) {
      must(watch.saw(vm, watch.known), `the scan of ${vm} does not see the name of the profile in its memory`)
      must(!watch.sawAnyIn(vm), `found: ${watch.found(vm)}`)
      say(`memory of ${vm}: ${watch.scans(vm)}; the profile’s name seen, no secret`)
    }
    await searchFiles(system, watch.secrets, profile, say)
    await searchTraffic(watch, passphrase, profile, say)
  },
}

async function searchFiles(
  system: LocalSystem,
  secrets: readonly Needle[],
  profile: string,
  say: (text: string) => void,
): Promise<void> {
  const { home } = system
  for (const vm of blind) {
    const paths = [home.home(vm), home.run(vm)]
    const { findings, files, bytes } = await scanFiles(paths, secrets)
    must(findings.length === 0, `found: ${describeFindings(findings)}`)
    const control = await scanFiles(paths, textNeedles('the profile', profile))
    must(control.findings.length > 0, `the scan does not see the name of the profile in the files of ${vm}`)
    say(`files of ${vm}: ${files} files, ${Math.round(bytes / MiB)} MiB; no secret`)
  }
  const { findings } = await scanFiles([home.logs], secrets)
  must(findings.length === 0, `found: ${describeFindings(findings)}`)
  say('logs of all VMs: no secret')
  await searchHsm(system, secrets, say)
  const disks = await scanFiles([home.machine], secrets)
  must(
    disks.findings.some(({ name }) => name === 'the plaintext marker'),
    'the scan of files does not see the marker on the disks of dom0',
  )
}

/** The HSM VM uses both, and keeps the PIN in the file that its settings name, and the passphrase nowhere. */
async function searchHsm(
  { home }: LocalSystem,
  secrets: readonly Needle[],
  say: (text: string) => void,
): Promise<void> {
  const { hsm } = serviceVms
  const { pinFile } = JSON.parse(await readFile(home.settings(hsm), 'utf8')) as { pinFile: string }
  const pin = textNeedles('the PIN', (await readFile(pinFile, 'utf8')).trim())
  const found = await scanFiles([home.home(hsm), home.run(hsm), home.logs], [...secrets, ...pin])
  const places = found.findings.filter(({ name, where }) => name !== 'the PIN' || where !== pinFile)
  must(places.length === 0, `found: ${describeFindings(places)}`)
  must(found.findings.length > 0, 'the scan does not see the PIN where it is')
  let looks = 0
  for (const vm of [hsm, dom0])
    for (const pid of processTree(home.settings(vm)))
      for (const name of ['environ', 'cmdline', 'limits']) {
        const content = await readFile(`/proc/${pid}/${name}`, 'latin1')
        const seen = [...secrets, ...pin].find(({ bytes }) =>
          content.includes(Buffer.from(bytes).toString('latin1')),
        )
        must(seen === undefined, `${seen?.name} is in the ${name} of a process of ${vm}`)
        must(
          name !== 'limits' || /^Max core file size +1 +1 /m.test(content),
          `a process of ${vm} may dump core`,
        )
        looks += 1
      }
  say(
    `HSM VM: ${found.files} files and all logs, environments and arguments of its processes and dom0's (${looks}): the PIN in its file alone, no secret; no core dumps`,
  )
}

async function searchTraffic(
  { directory, secrets }: Watch,
  passphrase: string,
  profile: string,
  say: (text: string) => void,
): Promise<void> {
  for (const vm of blind) {
    const paths = [path.join(directory, vm)]
    const { findings, files, bytes } = await scanFiles(paths, secrets)
    must(findings.length === 0, `found: ${describeFindings(findings)}`)
    const control = await scanFiles(paths, textNeedles('the profile', profile))
    must(control.findings.length > 0, `the record of ${vm} does not show the name of the profile`)
    if (vm === serviceVms.storage)
      must(bytes > markedBytes, 'the record of storage is smaller than the backup')
    say(`traffic of ${vm}: ${files} streams, ${Math.round(bytes / MiB)} MiB; no secret`)
  }
  const released = await scanFiles(
    [path.join(directory, serviceVms.hsm)],
    textNeedles('passphrase', passphrase),
  )
  must(released.findings.length > 0, 'the record between dom0 and the HSM VM does not show the passphrase')
  say('traffic of the HSM VM with dom0: the passphrase seen, so the record would show it')
}

/** Recorders at the sockets, and scans of memory: all that was seen, by VM. */
class Watch implements AsyncDisposable {
  readonly directory: string
  readonly known = 'the name of the profile'
  secrets: readonly Needle[] = []
  readonly #system: LocalSystem
  readonly #recorders: Recorder[] = []
  #scanningReceiver = false
  #fault: unknown = null
  readonly #seen = new Map<VmName, Map<string, string>>()
  readonly #scans = new Map<VmName, { count: number; bytes: number }>()

  private constructor(system: LocalSystem) {
    this.#system = system
    this.directory = path.join(system.home.directory, 'recorded')
  }

  static async start(system: LocalSystem): Promise<Watch> {
    const { hsm, storage, management } = serviceVms
    const watch = new Watch(system)
    await watch.#record(storage, 'services.sock')
    await watch.#record(storage, 'qrexec.sock')
    await watch.#record(management, 'api.sock')
    await watch.#record(management, 'qrexec.sock')
    // The moment of a release is when dom0 certainly holds the passphrase.
    await watch.#record(hsm, 'services.sock', () => void watch.#scanReceiver())
    return watch
  }

  async #record(vm: VmName, socket: string, onAnswer = () => {}): Promise<void> {
    const recorder = await Recorder.start({
      socket: path.join(this.#system.home.run(vm), socket),
      directory: path.join(this.directory, vm),
      name: socket,
      onAnswer,
    })
    this.#recorders.push(recorder)
  }

  /** dom0 is given a few milliseconds between scans, and needs many more for what it does with a passphrase. */
  async #scanReceiver(): Promise<void> {
    if (this.#scanningReceiver) return
    this.#scanningReceiver = true
    try {
      for (let scan = 0; scan < receiverScansMax && !this.sawAllIn(dom0); scan++) {
        await pause(receiverRunsMilliseconds)
        this.#scan(dom0)
      }
    } catch (error) {
      this.#fault = error
    } finally {
      this.#scanningReceiver = false
    }
  }

  /** Scans again and again until the job ends, and once more after it. */
  async whileRunning(ordered: Job): Promise<Job> {
    for (;;) {
      for (const vm of blind) this.#scan(vm)
      if (!this.sawAllIn(dom0)) this.#scan(dom0)
      const job = await this.#system.api.job(ordered.id)
      if (job.state === 'done') break
      must(!['failed', 'cancelled'].includes(job.state), `the backup ${job.state}: ${job.error?.message}`)
      if (this.#fault !== null) throw this.#fault
      await pause(betweenScansMilliseconds)
    }
    for (const vm of blind) this.#scan(vm, 'all')
    return this.#system.api.job(ordered.id)
  }

  #scan(vm: VmName, extent: Extent = 'writable'): void {
    const needles = [...this.secrets, ...textNeedles(this.known, this.#system.profile)]
    const seen = this.#seen.get(vm) ?? new Map<string, string>()
    const scans = this.#scans.get(vm) ?? { count: 0, bytes: 0 }
    this.#seen.set(vm, seen)
    this.#scans.set(vm, scans)
    for (const pid of processTree(this.#system.home.settings(vm))) {
      const scan = scanMemory(pid, vm, needles, extent)
      scans.count += 1
      scans.bytes += scan?.bytes ?? 0
      for (const finding of scan?.findings ?? []) seen.set(finding.name, describeFindings([finding]))
    }
  }

  saw(vm: VmName, name: string): boolean {
    return this.#seen.get(vm)?.has(name) ?? false
  }
  sawAllIn(vm: VmName): boolean {
    return this.secrets.every(({ name }) => this.saw(vm, name))
  }
  sawAnyIn(vm: VmName): boolean {
    return this.secrets.some(({ name }) => this.saw(vm, name))
  }
  found(vm: VmName): string {
    const seen = [...(this.#seen.get(vm) ?? [])].filter(([name]) => name !== this.known)
    return seen.map(([, where]) => where).join('; ')
  }
  scans(vm: VmName): string {
    const { count, bytes } = this.#scans.get(vm) ?? { count: 0, bytes: 0 }
    return `${count} scans, ${Math.round(bytes / MiB)} MiB`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const recorder of this.#recorders) await recorder[Symbol.asyncDispose]()
  }
}
