import { buildApi } from '../../src/api/app.ts'
import { tokenCheck } from '../../src/api/auth.ts'
import { Catalogue } from '../../src/api/catalogue/catalogue.ts'
import { sqliteDialect } from '../../src/api/catalogue/sqlite.ts'
import type { ApiPorts } from '../../src/api/context.ts'
import type { Entropy } from '../../src/base/environment.ts'
import type { Log, LogFields } from '../../src/base/log.ts'
import { SteppedClock } from '../support/stepped-clock.ts'
import { FakeDom0 } from './fake-dom0.ts'

export const token = '5f'.repeat(32)
export const authorized = { authorization: `Bearer ${token}` }

export class MemoryLog implements Log {
  readonly lines: { readonly level: string; readonly message: string; readonly fields: LogFields }[] = []
  info(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'info', message, fields })
  }
  warn(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'warn', message, fields })
  }
  error(message: string, fields: LogFields = {}): void {
    this.lines.push({ level: 'error', message, fields })
  }
}

/** Counts up, so that what is made of it can be told apart and predicted. */
export function countingEntropy(): Entropy {
  let next = 0
  return { bytes: length => new Uint8Array(length).fill(next++) }
}

export interface Harness extends AsyncDisposable {
  readonly app: Awaited<ReturnType<typeof buildApi>>
  readonly dom0: FakeDom0
  readonly catalogue: Catalogue
  readonly clock: SteppedClock
  readonly log: MemoryLog
}

export async function startApi(overrides: Partial<ApiPorts> = {}): Promise<Harness> {
  const dom0 = new FakeDom0()
  const clock = new SteppedClock('2026-11-24T12:00:00Z')
  const log = new MemoryLog()
  const catalogue = await Catalogue.open(() => sqliteDialect(':memory:'))
  const environment = { clock, entropy: countingEntropy() }
  const ports = {
    dom0,
    catalogue,
    environment,
    log,
    token: tokenCheck(token),
    ledger: null,
    machine: null,
    ...overrides,
  }
  const app = await buildApi(ports)
  return {
    app,
    dom0,
    catalogue,
    clock,
    log,
    async [Symbol.asyncDispose]() {
      await app.close()
      await catalogue[Symbol.asyncDispose]()
    },
  }
}

/** Waits for what happens in other turns of the event loop; fails when it never does. */
export async function eventually(condition: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2000; turn++) {
    if (condition()) return
    await new Promise(resolve => setTimeout(resolve, 2))
  }
  throw new Error('it never happened')
}
