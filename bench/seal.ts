import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { toBase64 } from '../src/base/bytes.ts'
import { systemClock, systemEntropy } from '../src/base/environment.ts'
import { Untrusted } from '../src/base/untrusted.ts'
import { storeOptions } from '../src/main/sealed-configuration.ts'
import { parseConfiguration } from '../src/profiles/config.ts'
import { initCommand } from '../src/sealing/ceremony/init.ts'
import { signCommand } from '../src/sealing/ceremony/sign.ts'
import { readGeneration } from '../src/sealing/generation.ts'
import { readPin } from '../src/sealing/pin.ts'
import { sealedPlace } from '../src/sealing/place.ts'
import { FileSealedStore } from '../src/sealing/store.ts'
import { verifyStore } from '../src/sealing/verify.ts'
import { sealWorkspace, wholeFile } from '../src/sealing/workspace.ts'
import { report } from './report.ts'
import { parseCount } from './size.ts'
import { readOptions, stepOf } from './usage.ts'

const help = `A sealed store of many profiles: how long a machine takes to verify it, each step in a process of its own.

  npm run bench -- seal [OPTIONS]

  --profiles 10000
  --directory DIR   with room for 5 KiB a profile; it is left as it is
  --step NAME       make, open, look or parts, one after another in DIR

One JSON object a line: what, value, unit. \`open\` is what dom0 does when it starts, \`look\` what it does at each order; the others
are parts of that, without reading from the disk.
`

const options = readOptions(
  help,
  {
    profiles: { type: 'string', default: '10000' },
    directory: { type: 'string' },
    step: { type: 'string' },
  },
  values => ({ ...values, profiles: parseCount(values.profiles, 'profiles') }),
)
const directory = options.directory ?? fs.mkdtempSync(path.join(os.tmpdir(), 'strongroom-bench-seal-'))
const machine = path.join(directory, 'machine')
const signal = new AbortController().signal
const yearMilliseconds = 365 * 86_400_000

async function timed<T>(what: string, work: () => T | Promise<T>): Promise<T> {
  const before = process.cpuUsage()
  const begin = performance.now()
  const result = await work()
  report(`${what}, wall`, (performance.now() - begin) / 1000, 's')
  const { user, system } = process.cpuUsage(before)
  report(`${what}, CPU`, (user + system) / 1e6, 's')
  return result
}

/** As in the reference page, with most of what a profile can say. */
const profileText = (index: number) => `include: [ "work-${index}", "@tag:backup" ]
exclude: [ untrusted ]
destination_vm: store
destination_path: /home/user/incoming
compression: zstd
passphrase_vm: vault
strongroom:
  retention: { keep_last: 3, keep_daily: 14, keep_weekly: 8, keep_monthly: 12 }
  limits: { orders_per_day: 4, minutes_between: 60 }
  schedule:
    calendar: 'Mon..Fri 21:00'
    time_zone: Europe/Berlin
    jitter_minutes: 20
    catch_up: true
  budget: { upload_kib_per_second: 4096, on_battery: wait, wait_hours_max: 48 }
  max_age_days: 3
  check_within_days: 30
`
const binding = JSON.stringify({
  epoch: 1,
  envelope: 'cd'.repeat(32),
  stock_passphrase: false,
  purposes: ['backup', 'check', 'restore', 'prune'],
  releases_per_day: null,
})

async function make(): Promise<void> {
  const workspace = sealWorkspace(directory)
  const expires = new Date(Date.now() + yearMilliseconds)
  const init = {
    directory,
    custody: 'superadmin',
    expires,
    protection: null,
    entropy: systemEntropy,
  } as const
  await initCommand(init, signal)
  const key = () => toBase64(randomBytes(32))
  const keys = { dom0: key(), hsm: key() }
  const roles = { hsm: ['vault'], storage: ['store'], management: ['mgmt'], keys }
  fs.writeFileSync(path.join(workspace.draft, 'roles.json'), JSON.stringify(roles))
  for (let index = 0; index < options.profiles; index++) {
    fs.writeFileSync(path.join(workspace.draft, `profiles/p${index}.conf`), profileText(index))
    fs.writeFileSync(path.join(workspace.draft, `hsm/p${index}.json`), binding)
  }
  await signCommand(
    {
      directory,
      expires,
      renew: false,
      clock: systemClock,
      passphrase: () => Promise.reject(new Error('keys are not encrypted here')),
      validate: parseConfiguration,
      confirm: async () => true,
    },
    signal,
  )
  fs.mkdirSync(machine)
  fs.copyFileSync(workspace.pin, sealedPlace(machine).pin)
  const update = new Untrusted(new Uint8Array(fs.readFileSync(wholeFile(workspace))))
  await FileSealedStore.install(storeOptions(machine, systemClock), update)
}

async function parts(): Promise<void> {
  const { store, pin } = sealedPlace(machine)
  const files = await readGeneration(store)
  const pinned = await readPin(pin)
  const verified = await timed('verify', () => verifyStore(files, pinned, null, new Date()))
  await timed('parse', () => parseConfiguration(verified.files))
}

const steps: Readonly<Record<string, () => Promise<void>>> = {
  make,
  async open() {
    const opened = await timed('open', () => FileSealedStore.open(storeOptions(machine, systemClock)))
    report('profiles', opened.current().value.profiles.size, '')
    report('open, peak', process.resourceUsage().maxRSS / 1024, 'MiB')
  },
  async look() {
    const opened = await FileSealedStore.open(storeOptions(machine, systemClock))
    for (const time of ['first', 'second', 'third']) await timed(`look, ${time}`, () => opened.recheck())
  },
  parts,
}

if (options.step !== undefined) await stepOf(steps, options.step)()
else {
  const given = ['--profiles', String(options.profiles), '--directory', directory]
  for (const step of Object.keys(steps)) {
    const { status } = spawnSync(process.execPath, [import.meta.filename, ...given, '--step', step], {
      stdio: 'inherit',
    })
    if (status !== 0) {
      process.exitCode = 1
      break
    }
  }
  if (options.directory === undefined) fs.rmSync(directory, { recursive: true })
}
