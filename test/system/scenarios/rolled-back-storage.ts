import { cp, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import { useForADay } from '../../../scripts/quickstart/images.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

/** The storage VM plays tricks behind everybody's back; the ledger knows better. */
export const rolledBackStorage: Scenario = {
  summary: 'a deleted snapshot and a storage that was put back are reported as such',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 64 }, say })
    const { repository } = system.provisioned
    const aside = path.join(system.home.directory, 'aside')
    const first = await system.backup()
    await cp(repository, path.join(aside, 'after-first'), { recursive: true })
    await useForADay(system.image('work'), 'work')
    const second = await system.backup()
    await expectCheck(system, null)
    say('two backups; the check is clean')

    const snapshot = path.join(repository, 'snapshots', second.outcome?.snapshot ?? '')
    await rename(snapshot, path.join(aside, 'snapshot'))
    await expectCheck(system, 'SNAPSHOT_DELETED')
    say('newest snapshot deleted from storage: reported as deleted')
    await rename(path.join(aside, 'snapshot'), snapshot)
    await expectCheck(system, null)
    say('put back: clean again')

    await rename(repository, path.join(aside, 'newest'))
    await cp(path.join(aside, 'after-first'), repository, { recursive: true })
    await expectCheck(system, 'STORAGE_ROLLED_BACK')
    say('storage rolled back to the first day: reported as rolled back')
    const newest = await end(system, { kind: 'restore' })
    must(
      newest.error?.code === 'SNAPSHOT_DELETED',
      `restoring what is not there ended as ${newest.error?.code}`,
    )
    say(`restoring the newest snapshot fails: ${newest.error?.code}`)
    const older = await end(system, { kind: 'restore', snapshot: first.outcome?.snapshot })
    must(older.state === 'done', `the first snapshot does not restore: ${older.error?.message}`)
    say('the first day still restores')

    await rm(repository, { recursive: true })
    await rename(path.join(aside, 'newest'), repository)
    await expectCheck(system, null)
    say('everything put back: clean again')
  },
}

async function expectCheck(system: LocalSystem, code: string | null): Promise<void> {
  const job = await end(system, { kind: 'check' })
  const found = job.state === 'done' ? null : (job.error?.code ?? job.state)
  must(
    found === code,
    `the check said ${found ?? 'clean'} (${job.error?.message ?? ''}); expected ${code ?? 'clean'}`,
  )
}

async function end(system: LocalSystem, order: object) {
  const { id } = await system.api.order({ profile: system.profile, ...order })
  return system.api.ended(id)
}
