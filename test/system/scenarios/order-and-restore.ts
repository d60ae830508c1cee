import path from 'node:path'
import { sameBytes, useForADay } from '../../../scripts/quickstart/images.ts'
import { LocalSystem } from '../system.ts'
import { must, type Scenario } from './scenario.ts'

export const orderAndRestore: Scenario = {
  summary: 'two days of backups, checked and restored byte for byte',
  async run(say) {
    await using system = await LocalSystem.start({ fillMiB: 48, say })
    const copies = path.join(system.home.directory, 'days')
    const days = []
    for (const day of ['one', 'two']) {
      if (days.length > 0) for (const guest of system.guests) await useForADay(system.image(guest), guest)
      await system.keepCopy(path.join(copies, day))
      const job = await system.backup()
      say(
        `day ${day}: snapshot ${job.outcome?.snapshot?.slice(0, 12)}, ${job.outcome?.bytesStored} bytes stored`,
      )
      days.push({ day, job })
    }
    const [first, second] = days
    must(
      (second?.job.outcome?.bytesStored ?? 0) < (first?.job.outcome?.bytesStored ?? 0),
      'the second day stored as much as the first',
    )
    const check = await system.api.done({ profile: system.profile, kind: 'check', read: 'all' })
    must(check.outcome?.snapshots === 2, 'the check did not prove both snapshots')
    say(`checked: ${check.outcome?.objects} objects, all data read`)
    for (const { day, job } of days) {
      const snapshot = job.outcome?.snapshot
      const restore = await system.api.done({ profile: system.profile, kind: 'restore', snapshot })
      for (const guest of system.guests) {
        const same = await sameBytes(path.join(copies, day, `${guest}.img`), system.restored(restore, guest))
        must(same, `${guest} of day ${day} is not what it was`)
      }
      say(`day ${day} restored: every byte is the same`)
    }
  },
}
