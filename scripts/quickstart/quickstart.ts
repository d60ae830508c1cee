import type { ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { makePrivateDirectory } from '../../src/base/files.ts'
import { dom0 } from '../../src/base/names.ts'
import { LocalHome, serviceVms } from '../../src/main/local-home.ts'
import type { Job } from '../../src/qrexec/calls/orders.ts'
import type { ApiClient } from './client.ts'
import { adoptedGuests, madeGuests } from './guests.ts'
import { startHost, stopHost } from './host.ts'
import { copySparse, sameBytes, sha256OfFile } from './images.ts'
import { type GuestVm, type Provisioned, provision } from './provision.ts'

const help = `Usage: npm run quickstart -- [options]

Starts all five roles on this machine, backs up two VMs on two days, restores both days and compares every byte.

Options:
  --home DIR    where everything is kept (default: .strongroom)
  --images DIR  back up the image files (*.img, *.raw) of DIR instead of two that are made here; each is the disk of a
                VM of its name. With day1/ and day2/ in DIR, those of two days. The originals are only read
  --exit        end after the proof; status 0 only if every comparison held
  --help

Examples:
  npm run quickstart
  npm run quickstart -- --home /var/tmp/strongroom --exit
  npm run quickstart -- --images ~/images --exit
`
const MiB = 1024 * 1024
const marker = '.strongroom-quickstart'

const values = readOptions()
if (values.help) {
  console.log(help)
  process.exit(0)
}

interface DayImage {
  readonly name: string
  readonly path: string
  readonly bytes: number
  readonly sha256: string
}

const home = new LocalHome(values.home)
let host: ChildProcess | null = null
let stopping = false
let lastShown = ''

process.on('SIGINT', () => void giveUp(130))
process.on('SIGTERM', () => void giveUp(143))

try {
  const held = await main()
  if (values.exit) await stopHost(home)
  if (!held) process.exitCode = 1
} catch (error) {
  // Whatever fails while everything is being ended is no news.
  if (stopping) await new Promise(() => {})
  console.error(`\nquickstart failed: ${error instanceof Error ? error.message : error}`)
  await endHost()
  process.exit(1)
}

async function giveUp(status: number): Promise<never> {
  stopping = true
  console.error('\nstopping …')
  await endHost()
  process.exit(status)
}

/** Also a host that is only just starting. */
async function endHost(): Promise<void> {
  await stopHost(home).catch(() => {})
  if (host !== null && host.exitCode === null) host.kill('SIGTERM')
}

async function main(): Promise<boolean> {
  const vms = values.images === undefined ? madeGuests(home) : await adoptedGuests(home, values.images)
  await clearHome()
  step(vms.title)
  const guests = await vms.make(note)
  const day1 = await keepDay(guests, 'day1')

  step('A token, a ledger key, a sealed configuration')
  const provisioned = await provision(home.directory, guests)
  say('the profile, as sealed:', await readFile(path.join(home.seal, 'draft/profiles/nightly.conf'), 'utf8'))

  step('Five roles start: dom0, HSM VM, management VM, storage VM; sandboxes as they are needed')
  const { api } = await startHost(home, child => {
    host = child
  })
  note(`management API: ${api.address}`)
  const warnings = await wallWarnings()
  for (const warning of warnings) console.error(`\n!! ${warning}`)

  step('Day one: the management VM orders a backup, by name')
  const first = await api.done({ profile: provisioned.profile }, showProgress)
  describeBackup(first)

  step(vms.nextDay)
  await vms.useForADay()
  const day2 = await keepDay(guests, 'day2')

  step('Day two: a second order stores only what is new')
  const second = await api.done({ profile: provisioned.profile }, showProgress)
  describeBackup(second)

  step('A disposable checks every blob against the ledger, then both days are restored')
  const check = await api.done({ profile: provisioned.profile, kind: 'check', read: 'all' }, showProgress)
  note(`check: ${check.outcome?.snapshots} snapshots, ${check.outcome?.objects} objects, all data read`)
  const held1 = await restoreAndCompare(api, provisioned, first, day1)
  const held2 = await restoreAndCompare(api, provisioned, second, day2)

  await whatEachPartySaw(provisioned, second)
  await writeSummary(provisioned, { day1, day2 }, [first, second])
  const held = held1 && held2
  for (const warning of warnings) console.error(`\n!! ${warning}`)
  console.log(held ? '\nEvery comparison held.' : '\nA COMPARISON FAILED.')
  if (!values.exit) leaveRunning(api, provisioned)
  return held
}

/** Only what an earlier quickstart made is ever removed. */
async function clearHome(): Promise<void> {
  const found: string[] = await readdir(home.directory).catch(() => [])
  if (found.length > 0) {
    if (!found.includes(marker))
      throw new Error(`${home.directory} exists and is not from a quickstart; name another --home`)
    await stopHost(home)
    await rm(home.directory, { recursive: true })
  }
  await makePrivateDirectory(home.machine)
  await writeFile(path.join(home.directory, marker), '')
}

function imagePath({ name, image }: GuestVm): string {
  return path.join(home.machine, name, image)
}

/** What the host says of walls that it cannot build. */
async function wallWarnings(): Promise<readonly string[]> {
  const lines = (await readFile(path.join(home.directory, 'host.log'), 'utf8')).split('\n')
  return lines
    .filter(line => line.includes('BUBBLEWRAP DOES NOT WORK'))
    .map(line => String((JSON.parse(line) as { message?: unknown }).message))
}

/** A copy of every image as it is on that day, to compare with later. */
async function keepDay(guests: readonly GuestVm[], day: string): Promise<readonly DayImage[]> {
  const images: DayImage[] = []
  for (const guest of guests) {
    const copy = path.join(home.directory, 'days', day, `${guest.name}.img`)
    await copySparse(imagePath(guest), copy)
    images.push({
      name: guest.name,
      path: copy,
      bytes: (await stat(copy)).size,
      sha256: await sha256OfFile(copy),
    })
  }
  return images
}

async function restoreAndCompare(
  api: ApiClient,
  { profile }: Provisioned,
  backup: Job,
  images: readonly DayImage[],
): Promise<boolean> {
  const snapshot = backup.outcome?.snapshot
  const job = await api.done({ profile, kind: 'restore', snapshot }, showProgress)
  let held = true
  for (const { name, path: original, sha256 } of images) {
    const restored = path.join(home.home(dom0), 'restored', job.id, name, 'private.img')
    const same = await sameBytes(original, restored)
    held &&= same
    note(
      `${snapshot?.slice(0, 12)} ${name}: ${same ? 'identical' : 'DIFFERENT'}, sha256 ${sha256.slice(0, 16)}…`,
    )
  }
  return held
}

async function whatEachPartySaw({ repository }: Provisioned, job: Job): Promise<void> {
  step('What each party saw')
  const { outcome, error, ...rest } = job
  say(
    'management VM: one job, names and numbers only',
    JSON.stringify({ ...rest, outcome, error }, undefined, 1),
  )
  const packs = await readdir(path.join(repository, 'data'), { recursive: true, withFileTypes: true })
  const files = packs.filter(entry => entry.isFile())
  const one = files[0]
  const head = one ? await firstBytes(path.join(one.parentPath, one.name)) : ''
  say('storage VM: ciphertext under its own hashes', `${files.length} packs; the first begins ${head}`)
  const releases = await readFile(path.join(home.home(serviceVms.hsm), 'releases.jsonl'), 'utf8').catch(
    () => '',
  )
  say('HSM VM: every release and its reason', releases.trim().split('\n').map(releaseInWords).join('\n'))
  const decisions = await readFile(path.join(home.directory, 'host.log'), 'utf8')
  const policy = decisions
    .split('\n')
    .filter(line => line.includes('"component":"qrexec"'))
    .slice(-3)
  say('qrexec: every call, judged by the sealed policy', policy.join('\n'))
}

function releaseInWords(line: string): string {
  const { time, caller, profile, purpose, job, index } = JSON.parse(line) as Record<string, unknown>
  return `${time} to ${caller}: ${profile}, for the ${purpose} of job ${job}, entry ${index} of the ledger`
}

async function firstBytes(file: string): Promise<string> {
  const handle = await open(file)
  try {
    const { buffer } = await handle.read(Buffer.alloc(16), 0, 16, 0)
    return `${buffer.toString('hex')} (${createHash('sha256')
      .update(await readFile(file))
      .digest('hex')
      .slice(0, 12)}… = its name)`
  } finally {
    await handle.close()
  }
}

async function writeSummary(
  { profile, repository, envelope, recoveryKey }: Provisioned,
  days: Record<string, readonly DayImage[]>,
  jobs: readonly Job[],
): Promise<void> {
  const summary = {
    v: 1,
    profile,
    repository,
    envelope,
    recoveryKey,
    snapshots: jobs.map(job => job.outcome?.snapshot),
    days: Object.fromEntries(
      Object.entries(days).map(([day, images]) => [
        day,
        images.map(({ name, path: file, bytes, sha256 }) => ({ name, path: file, bytes, sha256 })),
      ]),
    ),
  }
  await writeFile(path.join(home.directory, 'quickstart.json'), `${JSON.stringify(summary, undefined, 2)}\n`)
}

function leaveRunning(api: ApiClient, { recoveryKey }: Provisioned): void {
  const tokenFile = path.join(home.home(serviceVms.management), 'api-token')
  console.log(`
The management API is left running:
  address  ${api.address}
  token    ${tokenFile}
Try:
  export STRONGROOM_API=${api.address} STRONGROOM_TOKEN_FILE=${tokenFile}
  bin/strongroom status
  bin/strongroom order nightly --wait
Restore without this software: docs/how-to/emergency-restore.md
  recovery key  ${recoveryKey}
Stop everything:
  bin/strongroom host stop --home ${home.directory}`)
}

function describeBackup({ outcome }: Job): void {
  note(
    `snapshot ${outcome?.snapshot?.slice(0, 12)}: ${outcome?.volumes} volumes, ${mib(outcome?.bytes)} MiB, ${mib(outcome?.bytesStored)} MiB stored`,
  )
}

function showProgress({ kind, state, progress }: Job): void {
  const percent =
    progress.bytesTotal > 0 ? ` ${Math.floor((100 * progress.bytesDone) / progress.bytesTotal)} %` : ''
  const text = `${kind}: ${state}, ${progress.phase}${progress.phase === 'ended' ? '' : percent}`
  if (text === lastShown) return
  lastShown = text
  note(text)
}

function step(text: string): void {
  console.log(`\n== ${text}`)
}
function note(text: string): void {
  console.log(`   ${text}`)
}
function say(title: string, text: string): void {
  console.log(`   ${title}`)
  for (const line of text.trimEnd().split('\n')) console.log(`   | ${line.slice(0, 200)}`)
}
function mib(bytes: number | undefined): string {
  return ((bytes ?? 0) / MiB).toFixed(1)
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        home: { type: 'string', default: '.strongroom' },
        images: { type: 'string' },
        exit: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
      },
    }).values
  } catch (error) {
    console.error(`quickstart: ${error instanceof Error ? error.message : error}\n\n${help}`)
    process.exit(2)
  }
}
