import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

export const addOrder: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'order <profile>',
    summary: 'order a backup',
    examples: [
      'strongroom order nightly',
      'strongroom order nightly --wait',
      'strongroom order nightly --json --wait | jq .job.state',
    ],
  })
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<OrderOptions>(io, (session, options, [profile = '']) => placeOrder(session, { profile }, options)),
    )
  parent.addCommand(command)
}
