import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface PruneOptions extends OrderOptions {
  readonly dryRun?: boolean
}

export const addPrune: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'prune <profile>',
    summary: 'forget what the sealed retention does not keep, and remove what nobody needs',
    examples: ['strongroom prune nightly --dry-run --wait', 'strongroom prune nightly --wait'],
  })
    .option('--dry-run', 'only tell what would be done; `strongroom snapshots` shows which ones, and why')
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<PruneOptions>(io, (session, options, [profile = '']) =>
        placeOrder(session, { profile, kind: 'prune', dryRun: options.dryRun ?? false }, options),
      ),
    )
  parent.addCommand(command)
}
