import type { Kysely } from 'kysely'
import { fromBase64, toBase64 } from '../../base/bytes.ts'
import type { Tables } from './tables.ts'

/** A statement has at most so many parameters. */
const rowsAtOnce = 200

export interface WitnessAlarm {
  readonly code: string
  readonly message: string
  readonly time: Date
}

/** The newest checkpoint that was verified, and what was wrong with what came after it. */
export interface WitnessState {
  readonly origin: string
  readonly size: number
  readonly root: string
  readonly checkpoint: string
  readonly seen: Date
  readonly alarm: WitnessAlarm | null
}

export class WitnessRecords {
  readonly #database: Kysely<Tables>

  constructor(database: Kysely<Tables>) {
    this.#database = database
  }

  async get(origin: string): Promise<WitnessState | null> {
    const row = await this.#database
      .selectFrom('witness')
      .selectAll()
      .where('origin', '=', origin)
      .executeTakeFirst()
    if (row === undefined) return null
    const { alarm_code: code, alarm_message: message, alarm_time: time } = row
    return {
      origin: row.origin,
      size: row.size,
      root: row.root,
      checkpoint: row.checkpoint,
      seen: new Date(row.seen),
      alarm: code === null || time === null ? null : { code, message: message ?? '', time: new Date(time) },
    }
  }

  /** Durable when it resolves: a witness signs nothing that it may forget. */
  async put(state: WitnessState): Promise<void> {
    const columns = {
      size: state.size,
      root: state.root,
      checkpoint: state.checkpoint,
      seen: state.seen.getTime(),
      alarm_code: state.alarm?.code ?? null,
      alarm_message: state.alarm?.message ?? null,
      alarm_time: state.alarm?.time.getTime() ?? null,
    }
    await this.#database
      .insertInto('witness')
      .values({ origin: state.origin, ...columns })
      .onConflict(conflict => conflict.column('origin').doUpdateSet(columns))
      .execute()
  }

  /** The entries that are kept, from `from` on, in their order. */
  async entries(origin: string, from: number, countMax: number): Promise<readonly Uint8Array[]> {
    const rows = await this.#database
      .selectFrom('ledger_entry')
      .select('leaf')
      .where('origin', '=', origin)
      .where('position', '>=', from)
      .orderBy('position')
      .limit(countMax)
      .execute()
    return rows.map(({ leaf }) => fromBase64(leaf))
  }

  /** All of them or none. */
  async addEntries(origin: string, from: number, leaves: readonly Uint8Array[]): Promise<void> {
    await this.#database.transaction().execute(async transaction => {
      for (let at = 0; at < leaves.length; at += rowsAtOnce)
        await transaction
          .insertInto('ledger_entry')
          .values(
            leaves
              .slice(at, at + rowsAtOnce)
              .map((leaf, index) => ({ origin, position: from + at + index, leaf: toBase64(leaf) })),
          )
          .execute()
    })
  }
}
