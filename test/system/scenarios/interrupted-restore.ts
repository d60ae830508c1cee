import { open, readdir, stat } from 'node:fs/promises'
import path from 'node:path'
import { ApiFailure } from '../../../scripts/quickstart/client.ts'
import { sameBytes, useForADay } from '../../../scripts/quickstart/images.ts'
import { sealAndInstall, writeDraft } from '../../../scripts/quickstart/provision.ts'
import { dom0 } from '../../../src/base/names.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

const KiB = 1024
const MiB = 1024 * KiB
const range = { offset: 5 * MiB + 123, length: 2 * MiB }

export const interruptedRestore: Scenario = {
  summary:
    'a restore that dom0 dies in the middle of is gone on with; some volumes, some bytes, and an earlier restore',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 192, personal: 160 }, fillMiB: 96, say })
    await allowNaming(system, 'work')
    const copies = path.join(system.home.directory, 'days')
    await system.keepCopy(copies)
    await system.backup()
    const restored = path.join(system.home.home(dom0), 'restored')

    const before = await killed(system, restored)
    say(`dom0 killed with ${Math.round(before / MiB)} MiB of a restore written; nothing of it is visible`)
    const whole = await system.api.done({ profile: system.profile, kind: 'restore' })
    must(whole.outcome?.warnings.length === 1, 'the second restore did not go on with the first')
    for (const guest of system.guests)
      must(
        await sameBytes(path.join(copies, `${guest}.img`), system.restored(whole, guest)),
        `${guest} differs`,
      )
    must((await names(restored)).join() === whole.id, 'something is left of the interrupted restore')
    say(`ordered again: every byte is right, and ${whole.outcome?.warnings[0]}`)

    const order = { profile: system.profile, kind: 'restore', vm: 'work', volumes: ['private'] } as const
    const part = await system.api.done({ ...order, range: `${range.offset}+2MiB` })
    const file = path.join(restored, part.id, 'work', `private.${range.offset}+${range.length}.img`)
    must(
      (await bytesAt(file, 0)).equals(await bytesAt(path.join(copies, 'work.img'), range.offset)),
      'the range differs',
    )
    say('a range of 2 MiB: the very bytes')

    await useForADay(system.image('work'), 'a day')
    await system.backup()
    const next = await system.api.done({ ...order, reuse: whole.id })
    must(await sameBytes(system.image('work'), system.restored(next, 'work')), 'the second day differs')
    must((await names(path.join(restored, next.id))).join() === 'work', 'another VM was restored too')
    say(`the next day, of work only: every byte is right, and ${next.outcome?.warnings[0]}`)

    const refused = await system.api.order({ profile: system.profile, kind: 'restore', vm: 'personal' }).then(
      () => 'a job',
      error => (error instanceof ApiFailure ? error.problem.code : error),
    )
    must(refused === 'VM_NOT_LISTED', `the order of a VM that may not be listed was answered with ${refused}`)
    say('a VM that the management VM may not list cannot be named')
  },
}

/** Seals that the management VM may list a VM. */
async function allowNaming(system: LocalSystem, vm: string): Promise<void> {
  await writeDraft(
    system.home,
    'policy/40-names.policy',
    `admin.vm.List  *  @tag:strongroom-management  ${vm}  allow target=dom0`,
  )
  await sealAndInstall(system.home)
  await system.restartHost()
}

/** Orders a restore and kills dom0 once some of it is written; how much was. Resolves when dom0 is back. */
async function killed(system: LocalSystem, restored: string): Promise<number> {
  const pid = await system.pidOf(dom0)
  const ordered = system.api
    .order({ profile: system.profile, kind: 'restore' })
    .catch(error => error as Error)
  const end = performance.now() + 60_000
  let written = 0
  while (written < 8 * MiB) {
    must(performance.now() < end, 'the restore did not begin')
    await new Promise(resolve => setTimeout(resolve, 2))
    written = await writtenIn(restored)
  }
  process.kill(pid, 'SIGKILL')
  await ordered
  must((await names(restored)).length === 0, 'a part of the restore is visible')
  written = await writtenIn(restored)
  while (performance.now() < end) {
    const answer = await system.api
      .request<{ stale: boolean; jobs: { state: string }[] }>('GET', '/v1/jobs')
      .catch(() => null)
    if (answer?.stale === false && answer.jobs.every(({ state }) => ['done', 'failed'].includes(state)))
      return written
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error('dom0 is not back')
}

/** Those that are visible. */
async function names(directory: string): Promise<readonly string[]> {
  return (await readdir(directory)).filter(name => !name.startsWith('.'))
}

async function writtenIn(directory: string): Promise<number> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(() => [])
  const files = entries
    .filter(entry => entry.isFile())
    .map(({ parentPath, name }) => path.join(parentPath, name))
  const sizes = await Promise.all(
    files.map(file =>
      stat(file).then(
        ({ blocks }) => 512 * blocks,
        () => 0,
      ),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function bytesAt(file: string, offset: number): Promise<Buffer> {
  await using handle = await open(file)
  const bytes = Buffer.alloc(range.length)
  must((await handle.read(bytes, 0, bytes.byteLength, offset)).bytesRead === range.length, `${file} is short`)
  return bytes
}
