import { systemClock } from '../base/environment.ts'
import { errorKinds } from '../base/errors.ts'
import { type Comparison, compareLedgers, rememberedCheckpoints, type Standing } from '../hsm/compare.ts'
import { openCopy } from '../ledger/copy-on-disk.ts'
import { ledgerKey } from '../ledger/identities.ts'
import { type Answer, missing } from './command-line.ts'
import { openConfiguration } from './sealed-configuration.ts'

/* `strongroom hsm compare`: what this VM has cosigned beside the copies of the ledger that others keep. */

const meanings: Readonly<Record<Standing, string>> = {
  same: 'one history',
  behind: 'one history; a copy that ends earlier is only behind, which is no fault',
  'rolled-back': 'ROLLED BACK: dom0 lacks entries that others have seen of it',
  forked: 'FORKED: two histories by the key of dom0; it was rewritten',
}
const faults: ReadonlySet<Standing> = new Set(['rolled-back', 'forked'])

/** The key is that of this VM's own sealed copy. A fork or a rollback is told by the exit status too. */
export async function compare(
  { home, sealedDirectory }: { readonly home: string; readonly sealedDirectory: string },
  directories: { readonly dom0: string | undefined; readonly management: string | undefined },
): Promise<Answer> {
  const given = (['dom0', 'management'] as const).filter(name => directories[name] !== undefined)
  if (given.length === 0) missing('--dom0 or --management')
  const key = ledgerKey((await openConfiguration(sealedDirectory, systemClock)).current().value.roles.keys)
  const copies = new Map(
    await Promise.all(given.map(async name => [name, await openCopy(directories[name] ?? '', key)] as const)),
  )
  const found = await compareLedgers(copies, await rememberedCheckpoints(home))
  const status = faults.has(found.standing) ? errorKinds.integrity.exit : 0
  return { result: found, text: describe(found), status }
}

function describe({ standing, first, copies, cosigned }: Comparison): readonly string[] {
  const lines = copies.map(
    ({ name, size, agrees }) =>
      `${name.padEnd(12)}${size} entries; ${agrees ? 'has' : 'HAS NOT'} what this VM has cosigned of so many`,
  )
  const newest = cosigned.at(-1)
  lines.push(
    `this VM     ${newest === undefined ? 'has cosigned nothing yet' : `${cosigned.length} checkpoints remembered, the newest of ${newest} entries`}`,
  )
  lines.push('', meanings[standing])
  if (first === null) return lines
  const { from, to } = first
  lines.push(
    from === to
      ? `the first entry that differs is ${from}`
      : `the first entry that differs is one of ${from} to ${to}; entry ${from}:`,
    ...copies.map(({ name, entry }) => `  ${name.padEnd(12)}${entry}`),
  )
  return lines
}
