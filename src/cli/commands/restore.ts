import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface RestoreOptions extends OrderOptions {
  readonly snapshot?: string
}

export const addRestore: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'restore <profile>',
    summary: 'order a restore into new volumes, never over existing ones',
    examples: ['strongroom restore nightly --wait', 'strongroom restore nightly --snapshot 6f3c…e1 --wait'],
  })
    .option('--snapshot <id>', 'which snapshot (64 hex digits); the newest when absent')
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<RestoreOptions>(io, (session, { snapshot, ...options }, [profile = '']) => {
        const which = snapshot === undefined ? {} : { snapshot }
        return placeOrder(session, { profile, kind: 'restore', ...which }, options)
      }),
    )
  parent.addCommand(command)
}
