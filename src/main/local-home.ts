import { stat } from 'node:fs/promises'
import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { ignoreMissing } from '../base/files.ts'
import type { VmName } from '../base/names.ts'
import { dom0, parseVmName } from '../base/names.ts'

/*
 * Where a local host keeps everything. One directory a purpose, so that each VM can be shown its own and no more:
 *   machine/<vm>/   dom0's disks: vm.json and the volumes of every VM
 *   home/<vm>/      the private directory of each service VM
 *   run/<vm>/       its qrexec sockets
 *   log/<vm>.log    what it says
 */

export const serviceVms = {
  hsm: parseVmName('vault-hsm'),
  storage: parseVmName('backup-store'),
  management: parseVmName('mgmt'),
} as const

export class LocalHome {
  readonly directory: string

  constructor(directory: string) {
    this.directory = path.resolve(directory)
  }

  /** Throws `FIELD_INVALID`. */
  async requireMade(): Promise<void> {
    const made = await stat(this.home(dom0)).catch(ignoreMissing)
    if (made?.isDirectory()) return
    throw new BaseError('FIELD_INVALID', `there is no host in ${this.directory}`, {
      hint: 'name its directory with --home; `npm run quickstart` makes one',
    })
  }

  get machine(): string {
    return path.join(this.directory, 'machine')
  }
  home(vm: VmName): string {
    return path.join(this.directory, 'home', vm)
  }
  get runDirectory(): string {
    return path.join(this.directory, 'run')
  }
  run(vm: VmName): string {
    return path.join(this.runDirectory, vm)
  }
  services(vm: VmName): string {
    return path.join(this.run(vm), 'services.sock')
  }
  /** Volumes that dom0 has restored to be examined, and removes again: a directory for each job. */
  get drills(): string {
    return path.join(this.home(dom0), 'drills')
  }
  /** `vmlinuz` and `initramfs.gz`, for restored VMs that have no boot loader; `scripts/boot-machine/build.sh` makes them. */
  get boot(): string {
    return path.join(this.directory, 'boot')
  }
  /** Sockets of machines that are being started. */
  get machines(): string {
    return path.join(this.runDirectory, '.machines')
  }
  get logs(): string {
    return path.join(this.directory, 'log')
  }
  /** The superadmin's workspace: keys, drafts, the signed store. Offline on a real machine. */
  get seal(): string {
    return path.join(this.directory, 'seal')
  }
  /** What runs: process id and address of the API. Written when everything is ready, removed at the end. */
  get hostFile(): string {
    return path.join(this.directory, 'host.json')
  }
  /** The port that the API has, or had last. */
  get portFile(): string {
    return path.join(this.directory, 'port.json')
  }
  settings(vm: VmName): string {
    return path.join(this.home(vm), 'settings.json')
  }
}
