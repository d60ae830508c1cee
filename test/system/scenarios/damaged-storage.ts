import path from 'node:path'
import { fromBase64 } from '../../../src/base/bytes.ts'
import { parseDigest } from '../../../src/base/names.ts'
import { slotOf, slotsCount, slotsOf } from '../../../src/base/slots.ts'
import { type EntryOf, parseEntry } from '../../../src/ledger/entry.ts'
import { serviceVms } from '../../../src/main/local-home.ts'
import type { Job } from '../../../src/qrexec/calls/orders.ts'
import { strongroom } from '../strongroom.ts'
import { LocalSystem } from '../system.ts'
import { flipByte, largestPack } from './damage.ts'
import { must, type Scenario } from './scenario.ts'

/** A bit rots where nobody looks, until somebody does. */
export const damagedStorage: Scenario = {
  summary:
    'one flipped byte in storage: named by a scrub, found by a check of its slot, recorded in the ledger',
  async run(say) {
    await using system = await LocalSystem.start({ images: { work: 64 }, say })
    await system.backup()
    await expectScrubs(system, null)
    await expectEnd(system, { kind: 'check', read: '30d' }, null)
    say('backed up; storage and sandbox find nothing wrong')

    const pack = await largestPack(system)
    const slot = slotOf(parseDigest(path.basename(pack)))
    await flipByte(pack)
    await expectScrubs(system, `data/${path.basename(pack)}`)
    say(`one byte of pack ${path.basename(pack).slice(0, 12)} flipped: the scrub names it, here and by order`)

    const structure = await expectEnd(system, { kind: 'check' }, null)
    const elsewhere = await expectEnd(system, { kind: 'check', read: partOf((slot + 1) % slotsCount) }, null)
    say('a check of the structure does not see it, nor does one of another slot')
    const there = await expectEnd(system, { kind: 'check', read: partOf(slot) }, 'CHECK_FAILED')
    say(`a check of slot ${slot} finds it`)

    const nothing = await provenBy(system, structure)
    must(nothing.slots.length === 0, 'the check of the structure claims to have read data')
    const other = await provenBy(system, elsewhere)
    must(other.slots.includes((slot + 1) % slotsCount), 'the other slot is not recorded as read')
    must(!other.slots.includes(slot), 'the slot is recorded as read by a check that did not read it')
    const faulty = await provenBy(system, there)
    must(faulty.code === 'CHECK_FAILED', 'the fault is not in the ledger')
    must(!faulty.slots.includes(slot), 'the damaged slot is recorded as proven')
    say('the ledger says of each check what it has proven, and what not')

    await flipByte(pack)
    await expectScrubs(system, null)
    const all = await expectEnd(system, { kind: 'check', read: 'all' }, null)
    must((await provenBy(system, all)).slots.length === slotsCount, 'not every slot is proven')
    const status = await system.api.request<{
      alarms: unknown[]
      profiles: { unreadSince: string }[]
    }>('GET', '/v1/status')
    must(status.alarms.length === 0, 'there is an alarm')
    must(
      status.profiles[0]?.unreadSince === String(all.ordered),
      'the status does not say since when all was read',
    )
    say('put right: all data proven, no alarm')
  },
}

function partOf(slot: number): string {
  return `${slot + 1}/${slotsCount}`
}

/** On the storage VM's own disk, and by an order that goes through dom0. `null`: nothing is damaged. */
async function expectScrubs(system: LocalSystem, damaged: string | null): Promise<void> {
  const settings = system.home.settings(serviceVms.storage)
  const here = await strongroom(['storage', 'scrub', '--settings', settings, '--json'])
  const { result } = JSON.parse(here.stdout) as { result: { findings: { name: string }[] }[] }
  const found = result[0]?.findings.map(({ name }) => name) ?? []
  must(
    here.code === (damaged === null ? 0 : 4),
    `the scrub on the disk exits with ${here.code}: ${here.stderr}`,
  )
  must(found.join() === (damaged ?? ''), `the scrub on the disk names ${found.join() || 'nothing'}`)
  const job = await expectEnd(system, { kind: 'scrub' }, damaged === null ? null : 'SCRUB_DAMAGED')
  must(
    damaged === null || job.error?.message.includes(`${damaged}, a pack`) === true,
    `the scrub by order says: ${job.error?.message}`,
  )
}

async function expectEnd(system: LocalSystem, order: object, code: string | null): Promise<Job> {
  const { id } = await system.api.order({ profile: system.profile, ...order })
  const job = await system.api.ended(id)
  const found = job.state === 'done' ? null : (job.error?.code ?? job.state)
  must(found === code, `${JSON.stringify(order)} ended as ${found ?? 'done'} (${job.error?.message ?? ''})`)
  return job
}

async function provenBy(system: LocalSystem, { id }: Job) {
  const entry = (await checkedEntries(system)).find(({ job }) => job === id)
  must(entry !== undefined, `the ledger has no entry of check ${id}`)
  return { code: entry.code, slots: slotsOf(entry.slots) }
}

/** As the management VM passes them on. */
async function checkedEntries({ api }: LocalSystem): Promise<EntryOf<'checked'>[]> {
  const found: EntryOf<'checked'>[] = []
  for (let from = 0; ; ) {
    const page = await api.request<{ size: number; entries: string[] }>(
      'GET',
      `/v1/ledger?from=${from}&count=500`,
    )
    for (const bytes of page.entries) {
      const entry = parseEntry(fromBase64(bytes))
      if (entry.type === 'checked') found.push(entry)
    }
    from += page.entries.length
    if (page.entries.length === 0 || from >= page.size) return found
  }
}
