import type { Kysely } from 'kysely'
import type { Migration, MigrationProvider } from 'kysely/migration'

const first: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable('job')
      .addColumn('id', 'text', column => column.primaryKey())
      .addColumn('profile', 'text', column => column.notNull())
      .addColumn('kind', 'text', column => column.notNull())
      .addColumn('state', 'text', column => column.notNull())
      .addColumn('ordered', 'bigint', column => column.notNull())
      .addColumn('ended', 'bigint')
      .addColumn('body', 'text', column => column.notNull())
      .execute()
    await database.schema
      .createIndex('job_by_profile')
      .on('job')
      .columns(['profile', 'kind', 'state', 'id'])
      .execute()
    await database.schema
      .createTable('schedule')
      .addColumn('profile', 'text', column => column.primaryKey())
      .addColumn('calendar', 'text', column => column.notNull())
      .addColumn('time_zone', 'text', column => column.notNull())
      .addColumn('jitter_minutes', 'integer', column => column.notNull())
      .addColumn('catch_up', 'integer', column => column.notNull())
      .addColumn('enabled', 'integer', column => column.notNull())
      .addColumn('last_run', 'bigint', column => column.notNull())
      .addColumn('next_run', 'bigint')
      .addColumn('retry_after', 'bigint')
      .addColumn('last_job', 'text')
      .addColumn('failure_code', 'text')
      .addColumn('failure_message', 'text')
      .addColumn('failure_time', 'bigint')
      .execute()
    await database.schema
      .createTable('witness')
      .addColumn('origin', 'text', column => column.primaryKey())
      .addColumn('size', 'bigint', column => column.notNull())
      .addColumn('root', 'text', column => column.notNull())
      .addColumn('checkpoint', 'text', column => column.notNull())
      .addColumn('seen', 'bigint', column => column.notNull())
      .addColumn('alarm_code', 'text')
      .addColumn('alarm_message', 'text')
      .addColumn('alarm_time', 'bigint')
      .execute()
  },
}

const ledgerEntries: Migration = {
  async up(database: Kysely<unknown>): Promise<void> {
    await database.schema
      .createTable('ledger_entry')
      .addColumn('origin', 'text', column => column.notNull())
      .addColumn('position', 'bigint', column => column.notNull())
      .addColumn('leaf', 'text', column => column.notNull())
      .addPrimaryKeyConstraint('ledger_entry_place', ['origin', 'position'])
      .execute()
  },
}

/** In order of their names; one that has shipped is never changed. */
export const migrations: MigrationProvider = {
  getMigrations: async () => ({ '0001-first': first, '0002-ledger-entries': ledgerEntries }),
}
