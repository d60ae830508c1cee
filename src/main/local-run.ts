import { spawn } from 'node:child_process'
import { constants } from 'node:os'
import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { makePrivateDirectory } from '../base/files.ts'
import { dom0, type VmName } from '../base/names.ts'
import { type Product, type Walls, walledCommand } from '../host/local/bubblewrap.ts'
import { type LocalHome, serviceVms } from './local-home.ts'
import { bindsOf } from './local-vms.ts'

/*
 * `strongroom host run VM -- COMMAND`: what a person does inside a VM, with that VM's files and behind its walls. On the
 * host itself the same command would act on files that the VM has written, with all that the person may do.
 */

const programs: Readonly<Record<string, string>> = { hsm: 'hsm-vm.ts', seal: 'seal.ts', dom0: 'dom0.ts' }
const vms: readonly VmName[] = [dom0, ...Object.values(serviceVms)]

export interface RunOptions {
  readonly home: LocalHome
  readonly walls: Walls
  readonly product: Product
  /** Seen inside too, read-only. */
  readonly read: readonly string[]
  /** Seen inside too. */
  readonly write: readonly string[]
}

/** Runs one command of the product on this terminal; its exit status. Throws `FIELD_INVALID`. */
export async function runInside(
  { home, walls, product, read, write }: RunOptions,
  [untrustedVm = '', ...words]: readonly string[],
): Promise<number> {
  const vm = vms.find(name => name === untrustedVm)
  if (vm === undefined)
    throw new BaseError('FIELD_INVALID', `there is no VM '${untrustedVm}'; there are ${vms.join(', ')}`)
  const [word = '', ...rest] = words
  const program = Object.hasOwn(programs, word) ? programs[word] : undefined
  if (program === undefined)
    throw new BaseError('FIELD_INVALID', `'${word}' is not one of ${Object.keys(programs).join(', ')}`, {
      hint: 'strongroom host run vault-hsm -- hsm envelopes',
    })
  await home.requireMade()
  await makePrivateDirectory(home.run(vm))
  const inside = [path.join(product.directory, 'src/main', program), ...rest]
  if (word !== 'seal') inside.push('--settings', home.settings(vm))
  const view = {
    vm,
    binds: [
      ...bindsOf(home, vm),
      ...read.map(from => ({ from: path.resolve(from), write: false })),
      ...write.map(from => ({ from: path.resolve(from), write: true })),
    ],
    network: false,
    lasting: true,
    disableUserns: walls.disableUserns,
  }
  const [command = '', ...commandArguments] = walledCommand(walls, product, view, [product.node, ...inside])
  const child = spawn(command, commandArguments, { stdio: 'inherit', env: { PATH: '/usr/bin:/bin' } })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']))
  })
}
