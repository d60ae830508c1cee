import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface CheckOptions extends OrderOptions {
  readonly readData?: boolean
}

export const addCheck: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'check <profile>',
    summary: 'order a check of a profile’s repository against the ledger',
    examples: ['strongroom check work --wait', 'strongroom check work --read-data --wait'],
  })
    .option('--read-data', 'decrypt and verify every blob and volume, not only the structure')
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<CheckOptions>(io, (session, options, [profile = '']) =>
        placeOrder(session, { profile, kind: 'check', readData: options.readData ?? false }, options),
      ),
    )
  parent.addCommand(command)
}
