import { shortId } from './keys.ts'
import { ownerRole, type Root, type RootRole } from './root.ts'

/* Who may seal what, and what of that would change, in words for the person who decides. */

/** One line of text each. `before` is `null` for a root that nobody here has seen. */
export function describeRoot(before: Root | null, after: Root): readonly string[] {
  if (before !== null && before.version === after.version) return []
  const lines = [
    `root version ${after.version}, expires ${after.expires.toISOString()}`,
    ...changed('custody', before?.custody, after.custody),
  ]
  for (const name of new Set([...(before?.roles.keys() ?? []), ...after.roles.keys()]))
    lines.push(...describeRole(name, before?.roles.get(name), after.roles.get(name)))
  if (!after.roles.has(ownerRole))
    lines.push('no owner key: nobody but the root can take a machine out of the sealed state')
  return lines
}

function describeRole(
  name: string,
  before: RootRole | undefined,
  after: RootRole | undefined,
): readonly string[] {
  if (after === undefined) return [`role ${name}: removed`]
  const keys = [
    ...after.keys.filter(key => !before?.keys.includes(key)).map(key => `+ key ${shortId(key)}…`),
    ...(before?.keys ?? []).filter(key => !after.keys.includes(key)).map(key => `- key ${shortId(key)}…`),
  ]
  const paths = changed('may hold', before?.paths.join(', '), after.paths.join(', '))
  const needs = changed('needs', before === undefined ? undefined : quorum(before), quorum(after))
  const isBrittle = needs.length > 0 && after.keys.length > 1 && after.threshold === after.keys.length
  const careful = isBrittle ? ['careful: it needs all of its keys, so none may be lost'] : []
  const inside = [...needs, ...careful, ...keys, ...paths]
  if (inside.length === 0) return []
  return [`role ${name}${before === undefined ? ', new' : ''}`, ...inside.map(line => `  ${line}`)]
}

function quorum({ keys, threshold }: RootRole): string {
  const all = keys.length > 1 && threshold === keys.length
  return `${threshold} of ${keys.length} keys${all ? ', all of them: one that is lost cannot be replaced' : ''}`
}

function changed(what: string, before: string | undefined, after: string): readonly string[] {
  if (before === after || (before === undefined && after === '')) return []
  return [
    before === undefined ? `${what}: ${after}` : `${what}: ${before || 'nothing'} → ${after || 'nothing'}`,
  ]
}
