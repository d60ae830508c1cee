import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import type { ApiClient } from '../../scripts/quickstart/client.ts'
import { startHost, stopHost } from '../../scripts/quickstart/host.ts'
import { copySparse, makeImage, sha256OfFile } from '../../scripts/quickstart/images.ts'
import { command, type Provisioned, provision, root } from '../../scripts/quickstart/provision.ts'
import { dom0 } from '../../src/base/names.ts'
import { type LocalHome, serviceVms } from '../../src/main/local-home.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'

const MiB = 1024 * 1024

export interface SystemOptions {
  /** MiB of each guest's image; two guests unless told. */
  readonly images?: Readonly<Record<string, number>>
  readonly fillMiB?: number
  readonly profile?: string
  /** `retention` of the sealed profile; the storage VM then has no grace period. */
  readonly retention?: string
  /** `drill` of the sealed profile. */
  readonly drill?: string
  readonly say?: (text: string) => void
}

/** The whole product on this machine: provisioned by its own commands, every role behind its walls. */
export class LocalSystem implements AsyncDisposable {
  readonly provisioned: Provisioned
  readonly guests: readonly string[]
  api: ApiClient
  readonly say: (text: string) => void

  private constructor(
    provisioned: Provisioned,
    guests: readonly string[],
    api: ApiClient,
    say: (text: string) => void,
  ) {
    this.provisioned = provisioned
    this.guests = guests
    this.api = api
    this.say = say
  }

  /** Whatever fails on the way, nothing is left behind. */
  static async start(options: SystemOptions = {}): Promise<LocalSystem> {
    const directory = await mkdtemp(path.join(tmpdir(), 'sr-'))
    try {
      return await LocalSystem.#startIn(directory, options)
    } catch (error) {
      await rm(directory, { recursive: true, force: true })
      throw error
    }
  }

  static async #startIn(directory: string, options: SystemOptions): Promise<LocalSystem> {
    const { images = { work: 96, personal: 64 }, fillMiB = 24, profile, retention, drill } = options
    const { say = () => {} } = options
    const rules = Object.entries({ retention, drill }).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, value] as const],
    )
    const guests = Object.keys(images)
    for (const [name, size] of Object.entries(images)) {
      const image = path.join(directory, 'machine', name, 'private.img')
      await mkdir(path.dirname(image), { recursive: true })
      await makeImage(image, name, size * MiB, fillMiB * MiB, [path.join(root, 'node_modules')])
    }
    const provisioned = await provision(
      directory,
      guests.map(name => ({ name, image: 'private.img' })),
      profile,
      rules.length === 0 ? undefined : profileText(guests, rules),
    )
    if (retention !== undefined) await withoutGrace(provisioned.home)
    say('provisioned: token, ledger key, sealed store')
    const { api } = await startHost(provisioned.home)
    say(`five roles run; API at ${api.address}`)
    return new LocalSystem(provisioned, guests, api, say)
  }

  get home(): LocalHome {
    return this.provisioned.home
  }

  get profile(): string {
    return this.provisioned.profile
  }

  get tokenFile(): string {
    return path.join(this.home.home(serviceVms.management), 'api-token')
  }

  image(guest: string): string {
    return path.join(this.home.machine, guest, 'private.img')
  }

  restored(job: Job, guest: string): string {
    return path.join(this.home.home(dom0), 'restored', job.id, guest, 'private.img')
  }

  /** SHA-256 of every guest's image as it is now. */
  async digests(): Promise<Record<string, string>> {
    const found: Record<string, string> = {}
    for (const guest of this.guests) found[guest] = await sha256OfFile(this.image(guest))
    return found
  }

  async keepCopy(target: string): Promise<void> {
    for (const guest of this.guests) await copySparse(this.image(guest), path.join(target, `${guest}.img`))
  }

  backup(): Promise<Job> {
    return this.api.done({ profile: this.profile })
  }

  /** The number on this machine of the process inside a VM. */
  async pidOf(vm: string): Promise<number> {
    const settings = this.home.settings(vm as typeof dom0)
    for (const entry of await readdir('/proc')) {
      if (!/^\d+$/.test(entry)) continue
      const line = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')
      const words = line.split('\0')
      // The wrappers (prlimit, bwrap) carry the same words; the program itself begins with Node.
      if (words.includes(settings) && /\/node$/.test(words[0] ?? '')) return Number(entry)
    }
    throw new Error(`no process of ${vm}`)
  }

  async restartHost(): Promise<void> {
    await stopHost(this.home)
    this.api = (await startHost(this.home)).api
  }

  command<T>(...args: readonly string[]): Promise<T> {
    return command<T>(...args)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopHost(this.home).catch(() => {})
    await rm(this.home.directory, { recursive: true, force: true })
  }
}

function profileText(guests: readonly string[], rules: readonly (readonly [string, string])[]): string {
  return `include: [ ${guests.join(', ')} ]
destination_vm: ${serviceVms.storage}
destination_path: /home/user/backups
compression: zstd
passphrase_vm: ${serviceVms.hsm}
strongroom:
${rules.map(([name, value]) => `  ${name}: ${value}\n`).join('')}`
}

/** What was stored a moment ago may be removed: no test waits a week. */
async function withoutGrace(home: LocalHome): Promise<void> {
  const file = home.settings(serviceVms.storage)
  const settings = JSON.parse(await readFile(file, 'utf8')) as object
  await writeFile(file, JSON.stringify({ ...settings, removableAfterHours: 0 }))
}
