import { Type } from 'typebox'
import { parseByteRange } from '../../base/byte-range.ts'
import { toHex } from '../../base/bytes.ts'
import {
  type IdempotencyKey,
  parseIdempotencyKey,
  parseJobId,
  parseProfileName,
  parseSnapshotId,
  parseVmName,
  parseVolumeName,
} from '../../base/names.ts'
import { parseReadChoice } from '../../base/read-choice.ts'
import { type RestoreChoice, requireConsistent } from '../../base/restore-choice.ts'
import type { Job } from '../../qrexec/calls/orders.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'
import { KeyText, OrderSchema, type OrderView } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { jobView } from '../views.ts'
import { answers } from './answers.ts'

const keyBytes = 16
const ofBackup = ['uploadBytesPerSecond', 'metered'] as const
const ofRestore = ['vm', 'volumes', 'range', 'reuse'] as const

export function orderRoutes(app: Routes, context: RouteContext): void {
  const { environment, history, log } = context
  app.post(
    '/v1/orders',
    {
      schema: {
        summary: 'Order a backup, a check, a restore, a drill, a scrub or a prune',
        headers: Type.Object({ 'idempotency-key': Type.Optional(KeyText) }),
        body: OrderSchema,
        response: answers({
          202: {
            description: 'the job, which may be one that the same key, or a running backup, already has',
            headers: {
              location: Type.String({ description: 'path of the job' }),
              'idempotency-key': KeyText,
            },
            content: { 'application/json': { schema: Type.Ref('Job') } },
          },
        }),
      },
    },
    async (request, reply) => {
      const given = request.headers['idempotency-key']
      const key = parseIdempotencyKey(given ?? toHex(environment.entropy.bytes(keyBytes)))
      const job = await history.record(await place(request.body, key, context))
      log.info('an order was accepted', { profile: job.profile, kind: job.kind, job: job.id })
      reply.code(202).header('location', `/v1/jobs/${job.id}`).header('idempotency-key', key)
      return jobView(job)
    },
  )
}

async function place(order: OrderView, key: IdempotencyKey, { dom0, closing }: RouteContext): Promise<Job> {
  const { kind = 'backup', snapshot, read, dryRun, uploadBytesPerSecond, metered } = order
  const profile = parseProfileName(order.profile)
  for (const field of ofRestore)
    if (order[field] !== undefined && kind !== 'restore') throw misplaced(field, 'restore', kind)
  if (snapshot !== undefined && kind !== 'restore' && kind !== 'drill')
    throw misplaced('snapshot', 'restore or drill', kind)
  if (read !== undefined && kind !== 'check') throw misplaced('read', 'check', kind)
  if (dryRun !== undefined && kind !== 'prune') throw misplaced('dryRun', 'prune', kind)
  for (const field of ofBackup)
    if (order[field] !== undefined && kind !== 'backup') throw misplaced(field, 'backup', kind)
  switch (kind) {
    case 'backup':
      return dom0.backup(profile, key, { uploadBytesPerSecond, metered }, closing)
    case 'check':
      return dom0.check(profile, key, parseReadChoice(read ?? 'structure'), closing)
    case 'scrub':
      return dom0.scrub(profile, key, closing)
    case 'restore': {
      const which = snapshot === undefined ? null : parseSnapshotId(snapshot)
      return dom0.restore(profile, key, which, choiceOf(order), closing)
    }
    case 'drill':
      return dom0.drill(profile, key, snapshot === undefined ? null : parseSnapshotId(snapshot), closing)
    case 'prune':
      return dom0.prune(profile, key, dryRun ?? false, closing)
    default:
      return kind satisfies never
  }
}

function choiceOf({ vm, volumes = [], range, reuse }: OrderView): RestoreChoice {
  const choice = {
    vm: vm === undefined ? null : parseVmName(vm),
    volumes: volumes.map(parseVolumeName),
    range: range === undefined ? null : parseByteRange(range),
    reuse: reuse === undefined ? null : parseJobId(reuse),
  }
  requireConsistent(choice)
  return choice
}

function misplaced(field: string, right: string, kind: string): ApiError {
  return new ApiError('API_REQUEST_INVALID', `body: '${field}' is for kind ${right}, and this is a ${kind}`)
}
