import type { SnapshotView } from '../../api/schemas.ts'
import { bytesText } from '../../base/quantities.ts'
import { parseSnapshotsView } from '../answers.ts'
import { snapshotsPath } from '../find-snapshot.ts'
import { table, timeText } from '../render.ts'
import { type AddCommand, act, describe } from './command.ts'

export const addSnapshots: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'snapshots <profile>',
    summary: 'list the snapshots of a profile, as the ledger knows them, and what a prune would keep',
    examples: ['strongroom snapshots nightly', 'strongroom snapshots nightly --json'],
  }).action(
    act(io, async (session, _options, [profile = '']) => {
      const { snapshots } = await session.api.request('GET', snapshotsPath(profile), parseSnapshotsView)
      const rows = snapshots.map(one => [
        one.snapshot,
        timeText(one.time),
        String(one.entry),
        String(one.epoch),
        String(one.volumes),
        bytesText(one.bytes),
        bytesText(one.bytesStored),
        keptText(one),
      ])
      session.result('snapshots', { profile, snapshots }, table(head, rows))
    }),
  )
  parent.addCommand(command)
}

/** What a prune would do now; `-`: forget it. */
function keptText({ keptBy, heldUntil }: SnapshotView): string {
  const reasons = keptBy.map(one => (one === 'held' ? `held until ${heldUntil?.slice(0, 10)}` : one))
  return reasons.length === 0 ? '-' : reasons.join(', ')
}

const head = ['SNAPSHOT', 'TIME', 'ENTRY', 'EPOCH', 'VOLUMES', 'BYTES', 'STORED', 'KEPT BY']
