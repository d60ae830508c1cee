import { Type } from 'typebox'
import { parseProfileName } from '../../base/names.ts'
import type { RouteContext } from '../context.ts'
import { ProfileNameText, ProfilesSchema, SnapshotsSchema } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { snapshotView } from '../views.ts'
import { answers } from './answers.ts'

export function profileRoutes(app: Routes, { dom0, closing }: RouteContext): void {
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
}
