import type { RouteContext } from '../context.ts'
import { HealthSchema } from '../schemas.ts'
import type { Routes } from '../server.ts'
import { answers } from './answers.ts'

export function healthRoutes(app: Routes, _context: RouteContext): void {
  app.get(
    '/v1/health',
    {
      schema: {
        summary: 'Whether this service answers; says nothing of dom0',
        response: answers({ 200: HealthSchema }),
      },
    },
    async () => ({ status: 'ok' as const }),
  )
}
