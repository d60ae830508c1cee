import type { OrderView } from '../../api/schemas.ts'
import { bytesText, parseBytes } from '../../base/quantities.ts'
import { uploadBytesPerSecondMin } from '../../qrexec/calls/orders.ts'
import { CliError } from '../errors.ts'
import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface BackupOptions extends OrderOptions {
  readonly limitUpload?: number
  readonly metered?: boolean
}

export const addOrder: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'order <profile>',
    summary: 'order a backup',
    examples: [
      'strongroom order nightly',
      'strongroom order nightly --wait',
      'strongroom order nightly --limit-upload 2M',
      'strongroom order nightly --metered',
      'strongroom order nightly --json --wait | jq .job.state',
    ],
  })
    .option(
      '--limit-upload <rate>',
      'bytes a second, e.g. 500K or 2M, at least 16K; a lower limit of the sealed profile or of dom0 counts',
      parseLimit,
    )
    .option('--metered', 'say that the network is metered: the sealed profile says what that means')
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<BackupOptions>(io, (session, options, [profile = '']) =>
        placeOrder(session, { profile, ...wantedOf(options) }, options),
      ),
    )
  parent.addCommand(command)
}

function parseLimit(untrustedText: string): number {
  const bytes = parseBytes(untrustedText)
  if (bytes >= uploadBytesPerSecondMin) return bytes
  throw new CliError('CLI_USAGE', `--limit-upload: at least ${bytesText(uploadBytesPerSecondMin)} a second`, {
    hint: 'give e.g. 500K or 2M',
  })
}

function wantedOf({ limitUpload, metered }: BackupOptions): Omit<OrderView, 'profile'> {
  return {
    ...(limitUpload === undefined ? {} : { uploadBytesPerSecond: limitUpload }),
    ...(metered ? { metered } : {}),
  }
}
