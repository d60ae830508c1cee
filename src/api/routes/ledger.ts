import { Type } from 'typebox'
import { toBase64 } from '../../base/bytes.ts'
import { parseCheckpoint } from '../../ledger/checkpoint.ts'
import { QrexecError } from '../../qrexec/errors.ts'
import type { RouteContext } from '../context.ts'
import { ApiError } from '../errors.ts'
import { LedgerSchema } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { answers } from './answers.ts'

const entriesShownDefault = 100

const LedgerQuery = Type.Object(
  {
    from: Type.Optional(
      Type.String({ pattern: '^[0-9]{1,15}$', description: 'index of the first entry; 0 when absent' }),
    ),
    count: Type.Optional(
      Type.String({ pattern: '^[0-9]{1,4}$', description: 'how many entries at most; 100 when absent' }),
    ),
  },
  { additionalProperties: false },
)

export function ledgerRoutes(app: Routes, { dom0, catalogue, ledger, log, closing }: RouteContext): void {
  app.get(
    '/v1/ledger',
    {
      schema: {
        summary: 'The newest checkpoint and a page of entries, as dom0 sends them',
        description: 'Whoever relies on them verifies them: `strongroom ledger verify`.',
        querystring: LedgerQuery,
        response: answers({ 200: LedgerSchema }),
      },
    },
    async request => {
      const from = Number(request.query.from ?? 0)
      const count = Number(request.query.count ?? entriesShownDefault)
      const { checkpoint, entries } = await dom0.ledger(from, closing)
      return {
        size: sizeOf(checkpoint),
        checkpoint,
        from,
        entries: entries.slice(0, count).map(toBase64),
        keys: [...(ledger?.verifierKeys ?? [])],
      }
    },
  )

  app.delete(
    '/v1/ledger/alarm',
    {
      schema: {
        summary: 'Acknowledge the witness’s alarm; it does not end by itself',
        response: answers({ 204: Type.Null() }),
      },
    },
    async (_request, reply) => {
      const state = ledger === null ? null : await catalogue.witness.get(ledger.origin)
      if (state === null || state.alarm === null)
        throw new ApiError(
          'API_ALARM_NOT_FOUND',
          'there is nothing to acknowledge: the witness has raised no alarm',
        )
      await catalogue.witness.put({ ...state, alarm: null })
      log.warn('the alarm of the witness was acknowledged', { alarm: state.alarm })
      return reply.code(204).send(null)
    },
  )
}

function sizeOf(checkpoint: string): number {
  try {
    return parseCheckpoint(checkpoint).size
  } catch (cause) {
    throw new QrexecError('QREXEC_ANSWER_INVALID', 'dom0 answered with something that is no checkpoint', {
      cause,
    })
  }
}
