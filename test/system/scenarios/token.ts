import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { install, writeDraft } from '../../../scripts/quickstart/provision.ts'
import type { LocalSystem } from '../system.ts'

/** How a job ends: `done`, or the code of its error. */
export async function endOf(system: LocalSystem, kind: string): Promise<string> {
  const { id } = await system.api.order({ profile: system.profile, kind })
  const { state, error } = await system.api.ended(id)
  return error === null ? state : error.code
}

/** Seals another envelope, another token's witness key, or both, and installs what was sealed. The host takes it when it starts. */
export async function sealToken(
  { home, profile, command }: LocalSystem,
  { envelope, witnessKey }: { readonly envelope?: string; readonly witnessKey?: string },
): Promise<void> {
  const draft = async (file: string) =>
    JSON.parse(await readFile(path.join(home.seal, 'draft', file), 'utf8')) as Record<string, unknown>
  if (envelope !== undefined) {
    const binding = await draft(`hsm/${profile}.json`)
    await writeDraft(home, `hsm/${profile}.json`, JSON.stringify({ ...binding, envelope }))
  }
  if (witnessKey !== undefined) {
    const { keys, ...roles } = await draft('roles.json')
    const withToken = { ...roles, keys: { ...(keys as object), hsm: witnessKey } }
    await writeDraft(home, 'roles.json', JSON.stringify(withToken))
  }
  const { update } = await command<{ update: string }>('seal', 'sign', '--dir', home.seal, '--yes')
  await install(home, update)
}
