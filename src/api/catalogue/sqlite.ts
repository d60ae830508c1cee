import { DatabaseSync, type SQLInputValue } from 'node:sqlite'
import { type SqliteDatabase, SqliteDialect, type SqliteStatement } from 'kysely'

const busyMilliseconds = 5_000
const statementsKeptMax = 200

/** Kysely's dialect over node:sqlite. WAL with a sync at every commit: a schedule that was set stays set. */
export function sqliteDialect(file: string): SqliteDialect {
  const database = new DatabaseSync(file, { timeout: busyMilliseconds, enableForeignKeyConstraints: true })
  database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL')
  return new SqliteDialect({ database: adapt(database) })
}

function adapt(database: DatabaseSync): SqliteDatabase {
  const kept = new Map<string, SqliteStatement>()
  return {
    close: () => database.close(),
    prepare: sql => {
      const known = kept.get(sql)
      if (known !== undefined) return known
      const statement = database.prepare(sql)
      const parameters = (values: readonly unknown[]) => values as readonly SQLInputValue[]
      const made: SqliteStatement = {
        reader: statement.columns().length > 0,
        all: values => statement.all(...parameters(values)),
        run: values => statement.run(...parameters(values)),
        iterate: values => statement.iterate(...parameters(values)),
      }
      if (kept.size < statementsKeptMax) kept.set(sql, made)
      return made
    },
  }
}
