import { Type } from 'typebox'
import { toHex } from '../../base/bytes.ts'
import {
  type IdempotencyKey,
  parseIdempotencyKey,
  parseProfileName,
  parseSnapshotId,
} from '../../base/names.ts'
import { parseReadChoice } from '../../base/read-choice.ts'
import type { Job } from '../../qrexec/calls/orders.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'
import { KeyText, OrderSchema, type OrderView } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { jobView } from '../views.ts'
import { answers } from './answers.ts'

const keyBytes = 16

export function orderRoutes(app: Routes, context: RouteContext): void {
  const { environment, history, log } = context
  app.post(
    '/v1/orders',
    {
      schema: {
        summary: 'Order a backup, a check, a restore or a scrub',
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
  const { kind = 'backup', snapshot, read } = order
  const profile = parseProfileName(order.profile)
  if (snapshot !== undefined && kind !== 'restore') throw misplaced('snapshot', 'restore', kind)
  if (read !== undefined && kind !== 'check') throw misplaced('read', 'check', kind)
  switch (kind) {
    case 'backup':
      return dom0.backup(profile, key, closing)
    case 'check':
      return dom0.check(profile, key, parseReadChoice(read ?? 'structure'), closing)
    case 'scrub':
      return dom0.scrub(profile, key, closing)
    case 'restore':
      return dom0.restore(profile, key, snapshot === undefined ? null : parseSnapshotId(snapshot), closing)
    default:
      return kind satisfies never
  }
}

function misplaced(field: string, right: string, kind: string): ApiError {
  return new ApiError('API_REQUEST_INVALID', `body: '${field}' is for kind ${right}, and this is a ${kind}`)
}
