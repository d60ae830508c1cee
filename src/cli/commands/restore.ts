import { Option } from 'commander'
import type { OrderView } from '../../api/schemas.ts'
import { parseJobId } from '../../base/names.ts'
import { findSnapshot } from '../find-snapshot.ts'
import { type OrderOptions, placeOrder } from '../place-order.ts'
import { type AddCommand, act, describe } from './command.ts'

interface RestoreOptions extends OrderOptions {
  readonly snapshot?: string
  readonly vm?: string
  readonly volume?: string[]
  readonly range?: string
  readonly reuse?: string
}

export const addRestore: AddCommand = (parent, io) => {
  const command = describe({
    usage: 'restore <profile>',
    summary: 'order a restore into new volumes, never over existing ones',
    examples: [
      'strongroom restore nightly --wait',
      'strongroom restore nightly --snapshot 6f3c09e1 --wait',
      'strongroom restore nightly --vm personal --volume private --wait',
      'strongroom restore nightly --vm personal --volume private --range 1GiB+64MiB --wait',
      'strongroom restore nightly --reuse 20261124T031500Z-1f2e3d4c --wait',
    ],
  })
    .option(
      '--snapshot <id>',
      'which snapshot: its id, or the first 8 digits or more of it; the newest when absent',
    )
    .option('--vm <name>', 'only this VM, which must be one that the management VM may list')
    .addOption(
      new Option('--volume <name>', 'only this volume of the VM; may be given several times').argParser(
        (name: string, before: string[] = []) => [...before, name],
      ),
    )
    .option(
      '--range <offset+length>',
      'only these bytes of the one volume, e.g. 1GiB+64MiB, as a file of its own',
    )
    .option(
      '--reuse <job>',
      'take what is the same from this earlier restore, which stays as it is',
      parseJobId,
    )
    .option('--wait', 'follow the job to its end; the exit code is the job’s')
    .option('--key <key>', 'idempotency key: the same order with the same key is one job')
    .action(
      act<RestoreOptions>(io, async (session, options, [profile = '']) => {
        const { snapshot } = options
        const which =
          snapshot === undefined ? {} : { snapshot: await findSnapshot(session, profile, snapshot) }
        const order = { profile, kind: 'restore', ...which, ...choiceOf(options) } as const
        return placeOrder(session, order, options)
      }),
    )
  parent.addCommand(command)
}

function choiceOf({ vm, volume, range, reuse }: RestoreOptions): Partial<OrderView> {
  return {
    ...(vm === undefined ? {} : { vm }),
    ...(volume === undefined ? {} : { volumes: volume }),
    ...(range === undefined ? {} : { range }),
    ...(reuse === undefined ? {} : { reuse }),
  }
}
