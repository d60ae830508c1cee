import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { startHost, stopHost } from '../../scripts/quickstart/host.ts'
import { install, writeDraft } from '../../scripts/quickstart/provision.ts'
import type { AttestationView } from '../../src/api/schemas.ts'
import { dom0 } from '../../src/base/names.ts'
import { type SoftwareTpm, softwareTpm } from '../tpm/swtpm.ts'
import { LocalSystem } from './system.ts'

/** A local host whose dom0 has a software TPM, and whose profile is released to a dom0 that proves its state. */
export class TpmSystem implements AsyncDisposable {
  readonly system: LocalSystem
  readonly #start: () => Promise<SoftwareTpm>
  tpm: SoftwareTpm

  private constructor(system: LocalSystem, tpm: SoftwareTpm, start: () => Promise<SoftwareTpm>) {
    this.system = system
    this.tpm = tpm
    this.#start = start
  }

  static async start(say: (text: string) => void): Promise<TpmSystem> {
    const system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1, say })
    await stopHost(system.home)
    // Within dom0's walls.
    const directory = path.join(system.home.home(dom0), 'tpm')
    const start = async () => {
      await mkdir(directory, { recursive: true })
      const tpm = await softwareTpm({ directory })
      // It serves one connection at a time, and from now on that is dom0's.
      await tpm.tpm.close()
      return tpm
    }
    const one = new TpmSystem(system, await start(), start)
    await one.setTpm({ device: one.tpm.socket, measurements: one.measurements })
    await mkdir(one.measurements, { recursive: true })
    const binding = await one.binding()
    await one.seal({ ...binding, attestation: 'tpm' })
    await one.anchor()
    await one.startHost()
    return one
  }

  get measurements(): string {
    return path.join(this.system.home.home(dom0), 'run')
  }

  async binding(): Promise<object> {
    const file = path.join(this.system.home.seal, 'draft/hsm', `${this.system.profile}.json`)
    return JSON.parse(await readFile(file, 'utf8')) as object
  }

  /** Signs a version with another binding, and puts it into dom0 and the HSM VM. */
  async seal(binding: object): Promise<void> {
    const { home, profile } = this.system
    await writeDraft(home, `hsm/${profile}.json`, JSON.stringify(binding))
    const { update } = await this.system.command<{ update: string }>(
      'seal',
      'sign',
      '--dir',
      home.seal,
      '--yes',
    )
    await install(home, update)
  }

  /** `null`: dom0 has none. */
  async setTpm(tpm: object | null): Promise<void> {
    const file = this.system.home.settings(dom0)
    const { tpm: _, ...settings } = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>
    await writeFile(file, JSON.stringify(tpm === null ? settings : { ...settings, tpm }))
  }

  anchor(): Promise<{ base: number }> {
    return this.system.command('dom0', 'anchor', '--settings', this.system.home.settings(dom0))
  }

  async startHost(): Promise<void> {
    this.system.api = (await startHost(this.system.home)).api
  }

  /** What dom0 says when it does not start. */
  async refusalToStart(): Promise<string> {
    try {
      await this.startHost()
      return 'it started'
    } catch (error) {
      return String(error)
    }
  }

  stopHost(): Promise<void> {
    return stopHost(this.system.home)
  }

  /** What switching the machine off and on does to a TPM, and to what is in /run. */
  async restartMachine(): Promise<void> {
    await this.stopHost()
    // As every orderly end does. A software TPM that is killed without it forgets its clock, and says that it did not.
    await this.tpm.tool('tpm2_shutdown', '--clear')
    await this.tpm.kill()
    await rm(this.measurements, { recursive: true })
    await mkdir(this.measurements)
    await this.tpm.start()
    await this.tpm.tpm.close()
    await this.startHost()
  }

  /** Another TPM in this machine. */
  async replaceTpm(): Promise<void> {
    await this.tpm[Symbol.asyncDispose]()
    await rm(this.measurements, { recursive: true })
    await mkdir(this.measurements)
    this.tpm = await this.#start()
  }

  /** The code and the words with which the next backup fails, or `done`. */
  async backup(): Promise<string> {
    const { api, profile } = this.system
    const { id } = await api.order({ profile })
    const { state, error } = await api.ended(id)
    return error === null ? state : `${error.code}: ${error.message}`
  }

  /** What the management VM finds when it asks now. */
  attestation(): Promise<AttestationView> {
    return this.system.api.request('POST', '/v1/attestation')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.system[Symbol.asyncDispose]()
    await this.tpm[Symbol.asyncDispose]()
  }
}
