import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { root } from '../../scripts/quickstart/provision.ts'
import { dom0 } from '../../src/base/names.ts'
import { type Ended, runToEnd } from './strongroom.ts'
import type { LocalSystem } from './system.ts'

/** Runs the one block with this info string of the how-to for emergencies, as a person would. */
export async function runBlock(info: string, variables: Readonly<Record<string, string>>): Promise<Ended> {
  const text = await readFile(path.join(root, 'docs/how-to/emergency-restore.md'), 'utf8')
  const blocks = [...text.matchAll(/^```(.+)\n([\s\S]*?)^```$/gm)].filter(([, found]) => found === info)
  if (blocks.length !== 1) throw new Error(`${blocks.length} blocks '${info}' in the how-to`)
  return runToEnd('sh', ['-eu', '-c', blocks[0]?.[2] ?? ''], variables)
}

/** Of what the ledger of dom0 names in a repository. */
export function filteredCopy(system: LocalSystem, repository: string, copy: string): Promise<Ended> {
  const ledger = path.join(system.home.home(dom0), 'ledger')
  return runBlock('sh filtered copy', { LEDGER: ledger, REPOSITORY: repository, COPY: copy })
}
