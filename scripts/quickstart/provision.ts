import { randomInt } from 'node:crypto'
import { access, copyFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { makePrivateDirectory } from '../../src/base/files.ts'
import { dom0 } from '../../src/base/names.ts'
import { LocalHome, serviceVms } from '../../src/main/local-home.ts'
import { run } from './images.ts'

/*
 * Sets up a local host with the product's own commands, as a person would: token, ledger key, seal. On a real machine each
 * of these happens in another VM, and the superadmin's workspace on another machine.
 */

export const root = path.join(import.meta.dirname, '../..')
const strongroom = path.join(root, 'bin/strongroom')

export interface GuestVm {
  readonly name: string
  /** File name of its private volume, in its directory below `machine`. */
  readonly image: string
}

export interface Provisioned {
  readonly home: LocalHome
  readonly profile: string
  readonly repository: string
  readonly envelope: string
  readonly recoveryKey: string
}

/** Runs one of the product's commands and returns its JSON result. */
export async function command<T>(...args: readonly string[]): Promise<T> {
  const { result } = JSON.parse(await run(strongroom, [...args, '--json'])) as { result: T }
  return result
}

export async function provision(
  directory: string,
  guests: readonly GuestVm[],
  profile = 'nightly',
  conf = profileText(guests),
): Promise<Provisioned> {
  const home = new LocalHome(directory)
  await describeMachine(home, guests)
  await writeSettings(home)
  const hsm = await command<{ witnessKey: string }>(
    'hsm',
    'init',
    '--settings',
    home.settings(serviceVms.hsm),
  )
  await makePrivateDirectory(path.join(home.directory, 'recovery'))
  const epoch = await command<{ epoch: number; envelope: string; digest: string; recoveryKey: string }>(
    ...['hsm', 'new-epoch', profile, '--settings', home.settings(serviceVms.hsm)],
    ...['--recovery-key', path.join(home.directory, 'recovery', `${profile}.key`)],
  )
  const ledger = await command<{ publicKey: string }>('dom0', 'init', '--settings', home.settings(dom0))
  const management = await command<{ witnessKey: string }>(
    ...['management', 'init', '--settings', home.settings(serviceVms.management)],
  )
  const keys = { dom0: ledger.publicKey, hsm: hsm.witnessKey }
  await seal(home, profile, conf, epoch, { ...keys, management: management.witnessKey })
  await writeManagementSettings(home, keys)
  return {
    home,
    profile,
    repository: path.join(home.home(serviceVms.storage), 'repositories', `${profile}.e${epoch.epoch}`),
    envelope: epoch.envelope,
    recoveryKey: epoch.recoveryKey,
  }
}

function profileText(guests: readonly GuestVm[]): string {
  return `# What to back up, where to, and whom to ask for the passphrase. Stock qubesd reads this file too.
include: [ ${guests.map(({ name }) => name).join(', ')} ]
destination_vm: ${serviceVms.storage}
destination_path: /home/user/backups
compression: zstd
passphrase_vm: ${serviceVms.hsm}
`
}

async function describeMachine(home: LocalHome, guests: readonly GuestVm[]): Promise<void> {
  const tags = { hsm: 'strongroom-hsm', storage: 'strongroom-storage', management: 'strongroom-management' }
  for (const role of ['hsm', 'storage', 'management'] as const)
    await describeVm(home, serviceVms[role], [tags[role]], true, {})
  for (const { name, image } of guests) await describeVm(home, name, ['backup'], false, { private: image })
}

async function describeVm(
  home: LocalHome,
  name: string,
  tags: readonly string[],
  running: boolean,
  volumes: Record<string, string>,
): Promise<void> {
  const directory = path.join(home.machine, name)
  await makePrivateDirectory(directory)
  const vm = { class: 'AppVM', tags, running, includeInBackups: Object.keys(volumes).length > 0, volumes }
  await writeFile(path.join(directory, 'vm.json'), `${JSON.stringify(vm, undefined, 2)}\n`)
}

async function writeSettings(home: LocalHome): Promise<void> {
  const { hsm, storage } = serviceVms
  for (const vm of [dom0, hsm, storage, serviceVms.management]) await makePrivateDirectory(home.home(vm))
  const write = (vm: typeof dom0, settings: object) =>
    writeFile(home.settings(vm), `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 })
  await write(dom0, {
    home: home.home(dom0),
    machine: home.machine,
    run: home.runDirectory,
    services: home.services(dom0),
    sandboxes: path.join(home.run(dom0), 'sandboxes.sock'),
    drillSandboxes: path.join(home.run(dom0), 'drill-sandboxes.sock'),
    boots: path.join(home.run(dom0), 'boots.sock'),
  })
  await write(storage, {
    services: home.services(storage),
    repositories: path.join(home.home(storage), 'repositories'),
    quotaBytes: 1024 ** 4,
  })
  const hsmHome = home.home(hsm)
  await write(hsm, {
    home: hsmHome,
    qrexec: path.join(home.run(hsm), 'qrexec.sock'),
    services: home.services(hsm),
    tokenLabel: 'strongroom',
    pinFile: path.join(hsmHome, 'pin'),
    softhsmConfiguration: path.join(hsmHome, 'softhsm2.conf'),
  })
  const pin = String(randomInt(10_000_000, 99_999_999))
  await writeFile(path.join(hsmHome, 'pin'), `${pin}\n`, { mode: 0o600 })
  await writeManagementSettings(home, { dom0: '', hsm: '' })
}

async function writeManagementSettings(home: LocalHome, keys: { dom0: string; hsm: string }): Promise<void> {
  const { management } = serviceVms
  const settings = {
    home: home.home(management),
    qrexec: path.join(home.run(management), 'qrexec.sock'),
    api: path.join(home.run(management), 'api.sock'),
    keys,
  }
  await writeFile(home.settings(management), `${JSON.stringify(settings, undefined, 2)}\n`, { mode: 0o600 })
}

async function seal(
  home: LocalHome,
  profile: string,
  conf: string,
  epoch: { epoch: number; digest: string },
  keys: { dom0: string; hsm: string; management: string },
): Promise<void> {
  await command('seal', 'init', '--dir', home.seal, '--no-passphrase')
  const draft = (file: string, text: string) => writeDraft(home, file, text)
  await draft(`profiles/${profile}.conf`, conf)
  const binding = {
    epoch: epoch.epoch,
    envelope: epoch.digest,
    stock_passphrase: false,
    purposes: ['backup', 'check', 'drill', 'restore', 'prune'],
    releases_per_day: null,
  }
  await draft(`hsm/${profile}.json`, JSON.stringify(binding, undefined, 2))
  const { hsm, storage, management } = serviceVms
  await draft(
    'roles.json',
    JSON.stringify({ hsm: [hsm], storage: [storage], management: [management], keys }),
  )
  await makePrivateDirectory(path.join(home.seal, 'draft/policy'))
  await copyFile(
    path.join(root, 'policy.d/30-strongroom.policy'),
    path.join(home.seal, 'draft/policy/30-strongroom.policy'),
  )
  await sealAndInstall(home)
}

export async function writeDraft(home: LocalHome, file: string, text: string): Promise<void> {
  const target = path.join(home.seal, 'draft', file)
  await makePrivateDirectory(path.dirname(target))
  await writeFile(target, `${text.trimEnd()}\n`)
}

/** Signs what is in the draft and puts it into dom0 and the HSM VM. */
export async function sealAndInstall(home: LocalHome): Promise<void> {
  const { update } = await command<{ update: string }>('seal', 'sign', '--dir', home.seal, '--yes')
  await install(home, update)
}

/** Puts an update into dom0 and the HSM VM; where nothing is installed, the whole store. */
export async function install(home: LocalHome, update: string): Promise<void> {
  for (const vm of [dom0, serviceVms.hsm]) {
    const machine = path.join(home.home(vm), 'sealed')
    await makePrivateDirectory(machine)
    await copyFile(path.join(home.seal, 'pin.json'), path.join(machine, 'pin.json'))
    const installed = await access(path.join(machine, 'store')).then(
      () => true,
      () => false,
    )
    const file = installed ? update : path.join(home.seal, 'updates/whole.update')
    await command('seal', 'install', '--machine', machine, '--update', file)
  }
}
