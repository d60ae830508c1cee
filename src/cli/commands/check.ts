import { Option } from 'commander'
import type { OrderView } from '../../api/schemas.ts'
import { printable } from '../../base/errors.ts'
import { type Reading, readingIn } from '../../base/read-choice.ts'
import { CliError } from '../errors.ts'
import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface CheckOptions extends OrderOptions {
  readonly readData?: boolean
  readonly readDataSubset?: string
  readonly readDataCycle?: string
  readonly scrub?: boolean
}

/** Of these kinds; another option says the others. */
function onlyOf(option: string, expected: string, ...kinds: readonly Reading['kind'][]) {
  return (untrustedText: string): string => {
    const reading = readingIn(untrustedText)
    if (reading !== null && kinds.includes(reading.kind)) return untrustedText
    throw new CliError(
      'CLI_USAGE',
      `${option} ${printable(untrustedText).slice(0, 40)}: expected ${expected}`,
    )
  }
}

const choices = {
  readData: new Option('--read-data', 'open and hash every blob, not only the structure'),
  readDataSubset: new Option(
    '--read-data-subset <share>',
    'a share of the data: 5% (what was not read for the longest time) or 1/7 (one part of seven)',
  ).argParser(
    onlyOf('--read-data-subset', 'a share like 5%, or 1/7 with at most 256 parts', 'share', 'part'),
  ),
  readDataCycle: new Option(
    '--read-data-cycle <days>',
    'as much as it takes that everything is read within so many days, e.g. 30d',
  ).argParser(onlyOf('--read-data-cycle', 'days like 30d', 'cycle')),
  scrub: new Option('--scrub', 'have the storage hash its objects; needs no passphrase, proves nothing'),
}

export const addCheck: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'check <profile>',
    summary: 'order a check of a profile’s repository against the ledger',
    examples: [
      'strongroom check nightly --wait',
      'strongroom check nightly --read-data --wait',
      'strongroom check nightly --read-data-cycle 30d --wait',
      'strongroom check nightly --scrub --wait',
    ],
  })
  for (const [name, option] of Object.entries(choices))
    command.addOption(option.conflicts(Object.keys(choices).filter(other => other !== name)))
  command
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<CheckOptions>(io, (session, options, [profile = '']) =>
        placeOrder(session, { profile, ...orderOf(options) }, options),
      ),
    )
  parent.addCommand(command)
}

function orderOf({
  readData,
  readDataSubset,
  readDataCycle,
  scrub,
}: CheckOptions): Omit<OrderView, 'profile'> {
  if (scrub) return { kind: 'scrub' }
  return { kind: 'check', read: readData ? 'all' : (readDataSubset ?? readDataCycle ?? 'structure') }
}
