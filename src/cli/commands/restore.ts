import { findSnapshot } from '../find-snapshot.ts'
import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface RestoreOptions extends OrderOptions {
  readonly snapshot?: string
}

export const addRestore: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'restore <profile>',
    summary: 'order a restore into new volumes, never over existing ones',
    examples: ['strongroom restore nightly --wait', 'strongroom restore nightly --snapshot 6f3c09e1 --wait'],
  })
    .option(
      '--snapshot <id>',
      'which snapshot: its id, or the first 8 digits or more of it; the newest when absent',
    )
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<RestoreOptions>(io, async (session, { snapshot, ...options }, [profile = '']) => {
        const which =
          snapshot === undefined ? {} : { snapshot: await findSnapshot(session, profile, snapshot) }
        return placeOrder(session, { profile, kind: 'restore', ...which }, options)
      }),
    )
  parent.addCommand(command)
}
