import { Type } from 'typebox'
import { type ProfileName, parseProfileName } from '../../base/names.ts'
import type { Schedule } from '../catalogue/schedule-records.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'
import { ProfileNameText, ScheduleSettingSchema, SchedulesSchema } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { nextStarts, settingOf } from '../timetable.ts'
import { scheduleView } from '../views.ts'
import { answers } from './answers.ts'
import { requireOffered } from './offered.ts'

const params = Type.Object({ name: ProfileNameText }, { additionalProperties: false })
const path = '/v1/profiles/:name/schedule'

export function scheduleRoutes(app: Routes, context: RouteContext): void {
  const { catalogue, environment, log } = context
  const now = () => environment.clock.now()

  app.get(
    '/v1/schedules',
    {
      schema: {
        summary: 'All schedules, each with its next five runs',
        response: answers({ 200: SchedulesSchema }),
      },
    },
    async () => {
      const schedules = await catalogue.schedules.list()
      return { schedules: schedules.map(schedule => scheduleView(schedule, now())) }
    },
  )

  app.get(
    path,
    {
      schema: {
        summary: 'The schedule of a profile',
        params,
        response: answers({ 200: Type.Ref('Schedule') }),
      },
    },
    async request => scheduleView(await find(context, parseProfileName(request.params.name)), now()),
  )

  app.put(
    path,
    {
      schema: {
        summary: 'Set the schedule of a profile; due times count from now',
        params,
        body: ScheduleSettingSchema,
        response: answers({ 200: Type.Ref('Schedule') }),
      },
    },
    async request => {
      const profile = parseProfileName(request.params.name)
      const setting = settingOf(request.body)
      // A schedule for a profile that is not there would fail in the night.
      await requireOffered(context, profile)
      const since = now()
      const first = nextStarts(profile, setting, since, 1)[0] ?? null
      await catalogue.schedules.set(profile, setting, since, first)
      log.info('a schedule was set', { profile, ...setting })
      return scheduleView(await find(context, profile), since)
    },
  )

  app.delete(
    path,
    {
      schema: {
        summary: 'Remove the schedule of a profile',
        params,
        response: answers({ 204: Type.Null() }),
      },
    },
    async (request, reply) => {
      const profile = parseProfileName(request.params.name)
      if (!(await catalogue.schedules.remove(profile))) throw noSchedule(profile)
      log.info('a schedule was removed', { profile })
      return reply.code(204).send(null)
    },
  )
}

async function find({ catalogue }: RouteContext, profile: ProfileName): Promise<Schedule> {
  const schedule = await catalogue.schedules.get(profile)
  if (schedule === null) throw noSchedule(profile)
  return schedule
}

function noSchedule(profile: ProfileName): ApiError {
  return new ApiError('API_SCHEDULE_NOT_FOUND', `the profile '${profile}' has no schedule`)
}
