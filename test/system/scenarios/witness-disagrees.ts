import { cp, readFile, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { startHost, stopHost } from '../../../scripts/quickstart/host.ts'
import { dom0 } from '../../../src/base/names.ts'
import type { Comparison } from '../../../src/hsm/compare.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import { strongroom } from '../strongroom.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

/** The management VM looks once a minute. */
const looksMax = 200
const lookMilliseconds = 500
const files = ['ledger', 'ledger-floor.json']

interface Status {
  readonly ledger: { readonly size: number } | null
  readonly alarms: readonly { readonly code: string; readonly message: string }[]
}

/** Somebody puts an older copy of dom0's ledger back, floor and all, and dom0 writes on. */
export const witnessDisagrees: Scenario = {
  summary:
    'a ledger that was put back and written on is refused by both witnesses, who name the first entry that differs',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 32 }, fillMiB: 1, say })
    const home = system.home.home(dom0)
    const aside = (name: string) => path.join(system.home.directory, 'aside', name)
    await system.backup()
    await stopHost(system.home)
    for (const file of files)
      await cp(path.join(home, file), path.join(aside('old'), file), { recursive: true })
    const shared = await sizeOf(aside('old'))
    await start(system)
    await system.backup()
    await system.restartHost()
    const newest = await sizeOf(home)
    await seen(system, ({ ledger }) => (ledger?.size ?? 0) >= newest)
    const honest = await compare(system, 'honest')
    must(
      honest.code === 0 && honest.found.standing === 'same' && honest.found.cosigned.length >= 2,
      `the honest copies were told as ${JSON.stringify(honest)}`,
    )
    say(`${newest} entries; the copies of dom0, the management VM and the HSM VM are one history`)

    await stopHost(system.home)
    for (const file of files) {
      await cp(path.join(home, file), path.join(aside('newest'), file), { recursive: true })
      await rm(path.join(home, file), { recursive: true })
      await rename(path.join(aside('old'), file), path.join(home, file))
    }
    await start(system)
    const { id } = await system.api.order({ profile: system.profile })
    const refused = await system.api.ended(id)
    must(
      refused.error?.code === 'HSM_REFUSED_LEDGER',
      `the backup ended as ${refused.error?.code ?? refused.state}`,
    )
    say(`the ledger of ${shared} entries is put back, and dom0 writes on: ${refused.error?.message}`)

    const { alarms } = await seen(system, ({ alarms }) =>
      alarms.some(({ code }) => code.startsWith('LEDGER_')),
    )
    const alarm = alarms.find(({ code }) => code.startsWith('LEDGER_'))
    must(
      alarm?.message.includes(`entry ${shared} is here {"type":`) === true,
      `the alarm does not name entry ${shared}: ${alarm?.message}`,
    )
    say(`the management VM: ${alarm?.code}: ${alarm?.message.slice(0, 300)}`)

    const { code, found } = await compare(system, 'forked')
    const [ofDom0, ofManagement] = found.copies
    must(
      code === 4 && found.standing === 'forked' && found.first?.from === shared && found.first.to === shared,
      `the forked copies were told as ${code} ${JSON.stringify(found)}`,
    )
    must(ofDom0?.agrees === false && ofManagement?.agrees === true, 'the HSM VM agrees with the wrong copy')
    must(ofDom0?.entry !== ofManagement?.entry, 'the entry that differs is the same')
    say(
      `the HSM VM: ${found.standing} at entry ${shared}, and the management VM's copy is the one it has cosigned`,
    )

    await stopHost(system.home)
    for (const file of files) {
      await rm(path.join(home, file), { recursive: true })
      await rename(path.join(aside('newest'), file), path.join(home, file))
    }
    await start(system)
    await system.backup()
    must((await compare(system, 'again')).code === 0, 'the newest ledger, put back, does not pass')
    say('the newest ledger is put back: it backs up, and passes')
  },
}

async function start(system: LocalSystem): Promise<void> {
  system.api = (await startHost(system.home)).api
}

/** The second line of the checkpoint. */
async function sizeOf(home: string): Promise<number> {
  return Number((await readFile(path.join(home, 'ledger/checkpoint'), 'utf8')).split('\n')[1])
}

async function seen(system: LocalSystem, isWanted: (status: Status) => boolean): Promise<Status> {
  for (let look = 0; look < looksMax; look += 1) {
    const status = await system.api.request<Status>('GET', '/v1/status')
    if (isWanted(status)) return status
    await delay(lookMilliseconds)
  }
  throw new Error('the management VM does not see what it should')
}

async function compare(
  { home }: LocalSystem,
  name: string,
): Promise<{ readonly code: number; readonly found: Comparison }> {
  const copy = path.join(home.directory, 'aside', name)
  const settings = (vm: typeof dom0) => ['--json', '--settings', home.settings(vm)]
  const copied = await strongroom(['management', 'copy-ledger', copy, ...settings(serviceVms.management)])
  must(copied.code === 0, `the management VM's copy: ${copied.stderr}`)
  const { code, stdout, stderr } = await strongroom([
    ...['hsm', 'compare', '--dom0', path.join(home.home(dom0), 'ledger'), '--management', copy],
    ...settings(serviceVms.hsm),
  ])
  must(stdout !== '', `no comparison: ${stderr}`)
  return { code, found: (JSON.parse(stdout) as { result: Comparison }).result }
}
