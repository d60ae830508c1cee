import { Type } from 'typebox'
import { is } from '../../base/json.ts'
import { parseProfileName, parseSnapshotId } from '../../base/names.ts'
import type { RouteContext } from '../context.ts'
import { HoldSchema, ProfileNameText, ProfilesSchema, SnapshotIdText, SnapshotsSchema } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { snapshotView } from '../views.ts'
import { answers } from './answers.ts'

const OneSnapshot = Type.Object(
  { name: ProfileNameText, snapshot: SnapshotIdText },
  { additionalProperties: false },
)

export function profileRoutes(app: Routes, { dom0, closing, log }: RouteContext): void {
  app.get(
    '/v1/profiles',
    {
      schema: {
        summary: 'Profiles that may be ordered, by the sealed policy',
        response: answers({ 200: ProfilesSchema }),
      },
    },
    async () => {
      const { configuration, profiles } = await dom0.profiles(closing)
      return { configuration: { ...configuration }, profiles: profiles.map(({ name }) => ({ name })) }
    },
  )

  app.get(
    '/v1/profiles/:name/snapshots',
    {
      schema: {
        summary: 'Snapshots of a profile',
        params: Type.Object({ name: ProfileNameText }, { additionalProperties: false }),
        response: answers({ 200: SnapshotsSchema }),
      },
    },
    async request => {
      const snapshots = await dom0.snapshots(parseProfileName(request.params.name), closing)
      return { snapshots: snapshots.map(snapshotView) }
    },
  )
  app.put(
    '/v1/profiles/:name/snapshots/:snapshot/hold',
    {
      schema: {
        summary: 'Keep a snapshot until a date, whatever the retention says',
        description: 'A hold that lasts longer already stays as it is.',
        params: OneSnapshot,
        body: HoldSchema,
        response: answers({ 200: Type.Ref('Snapshot') }),
      },
    },
    async request => {
      const { name, snapshot } = request.params
      const until = is.time(request.body.until)
      const held = await dom0.hold(parseProfileName(name), parseSnapshotId(snapshot), until, closing)
      log.info('a snapshot is held', { profile: name, snapshot, until: held.heldUntil })
      return snapshotView(held)
    },
  )

  app.delete(
    '/v1/profiles/:name/snapshots/:snapshot/hold',
    {
      schema: {
        summary: 'End a hold before its date, where the sealed profile allows it',
        params: OneSnapshot,
        response: answers({ 200: Type.Ref('Snapshot') }),
      },
    },
    async request => {
      const { name, snapshot } = request.params
      const freed = await dom0.endHold(parseProfileName(name), parseSnapshotId(snapshot), closing)
      log.info('a hold was ended', { profile: name, snapshot })
      return snapshotView(freed)
    },
  )
}
