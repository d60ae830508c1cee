import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { useForADay } from '../../../scripts/quickstart/images.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import type { Job } from '../../../src/qrexec/calls/orders.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

const victims = ['dom0', serviceVms.storage, serviceVms.hsm] as const
const seedDefault = 20_261_124

/** `kill -9` at seeded moments of a backup: no snapshot that lies, no ledger that does not read, and the next order succeeds. */
export const killAndContinue = (rounds: number): Scenario => ({
  summary: `kill -9 of dom0, storage or HSM process at ${rounds} seeded moments of a backup`,
  async run(say) {
    const random = generator(Number(process.env.SEED ?? seedDefault))
    await using system = await LocalSystem.start({ images: { work: 192 }, fillMiB: 96, say })
    await system.backup()
    await useForADay(system.image('work'), 'a quiet day')
    const usual = lengthOf(await system.backup())
    let hits = 0
    for (let round = 1; round <= rounds; round++) {
      await useForADay(system.image('work'), `round ${round}`)
      const victim = victims[Math.floor(random() * victims.length)] ?? 'dom0'
      const moment = Math.floor(random() * usual)
      const pid = await system.pidOf(victim)
      const ordered = system.api.order({ profile: system.profile }).catch(error => error as Error)
      await new Promise(resolve => setTimeout(resolve, moment))
      process.kill(pid, 'SIGKILL')
      const killed = new Date()
      const struck = await ordered
      await backAgain(system)
      const isHit = struck instanceof Error || ranAt(await system.api.job(struck.id), killed)
      if (isHit) hits += 1
      const next = await system.backup()
      const check = await system.api.done({ profile: system.profile, kind: 'check', readData: false })
      must(check.state === 'done', 'the check is not clean')
      const when = isHit ? 'during the backup' : 'too late'
      say(`round ${round}: ${victim} killed after ${moment} ms, ${when}; next ${next.state}, check clean`)
    }
    say(`${hits} of ${rounds} backups were struck before their end`)
    must(2 * hits >= rounds, 'most kills came when the backup had ended: nothing is shown')
    const check = await system.api.done({ profile: system.profile, kind: 'check', readData: true })
    const listed = await system.api.request<{ snapshots: { snapshot: string }[] }>(
      'GET',
      `/v1/profiles/${system.profile}/snapshots`,
    )
    must(check.outcome?.snapshots === listed.snapshots.length, 'not every snapshot of the ledger is readable')
    const stored = await readdir(path.join(system.provisioned.repository, 'snapshots'))
    const known = new Set(listed.snapshots.map(({ snapshot }) => snapshot))
    must(
      stored.filter(name => !name.startsWith('.')).every(name => known.has(name)),
      'storage has a snapshot that the ledger does not know',
    )
    say(`check clean: ${listed.snapshots.length} snapshots in the ledger, all readable, none beside them`)
  },
})

/** Whether the job had not ended yet. */
function ranAt({ ended }: Job, time: Date): boolean {
  return ended === null || new Date(ended) > time
}

/** Milliseconds from the order to the end. */
function lengthOf({ ordered, ended }: Job): number {
  return new Date(ended ?? ordered).getTime() - new Date(ordered).getTime()
}

/** Until every process answers and no job is left running. */
async function backAgain(system: LocalSystem): Promise<void> {
  const end = performance.now() + 60_000
  while (performance.now() < end) {
    const jobs = await system.api
      .request<{ stale: boolean; jobs: { state: string }[] }>('GET', '/v1/jobs')
      .catch(() => null)
    // Stale: the management VM's memory, because dom0 is not back yet.
    if (
      jobs?.stale === false &&
      jobs.jobs.every(({ state }) => ['done', 'failed', 'cancelled'].includes(state))
    )
      return
    await new Promise(resolve => setTimeout(resolve, 100))
  }
  throw new Error('a job still runs a minute after the kill')
}

/** mulberry32: the same moments for the same seed. */
function generator(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
}
