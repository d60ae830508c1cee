import type { CallDeclaration } from './calls/all.ts'
import type { Role } from './roles.ts'

/** The tag that gives a VM its role in the rendered policy; dom0 needs none. */
const roleTags: Readonly<Record<Exclude<Role, 'dom0'>, string>> = {
  hsm: 'strongroom-hsm',
  management: 'strongroom-management',
  storage: 'strongroom-storage',
  sandbox: 'strongroom-sandbox',
  monitor: 'strongroom-monitor',
}

const head = `## Who may call whom, made from src/qrexec/calls by \`npm run docs\`. Tags give roles:
## ${Object.values(roleTags).join(', ')}.
## Calls by dom0 are not judged by policy; that nobody else makes them is what the deny lines are for.
`

/** Events that a listener may be told; their names are arguments of \`admin.Events\`. */
const events = ['', 'backup-progress']

/**
 * The policy file of the product: for each service the callers that may, then a denial for all others. An argument is
 * `*`; a stricter policy names profiles in its place.
 */
export function renderPolicy(calls: readonly CallDeclaration[]): string {
  const lines = calls.flatMap(({ service, from, to }) => {
    const allowed = from.filter(role => role !== 'dom0').map(role => allow(service, '*', role, to))
    // What stock Qubes defines may have callers of its own, in other files: nothing is denied for them here.
    if (service.startsWith('admin.')) return allowed
    return [...allowed, ...['@anyvm', '@adminvm'].map(target => rule(service, '*', '@anyvm', target, 'deny'))]
  })
  const listening = events.map(event => allow('admin.Events', `+${event}`, 'management', 'dom0'))
  return `${head}\n${[...lines, ...listening].join('\n')}\n`
}

function allow(service: string, argument: string, from: Exclude<Role, 'dom0'>, to: Role): string {
  const target = to === 'dom0' ? '@adminvm' : `@tag:${roleTags[to]}`
  return rule(
    service,
    argument,
    `@tag:${roleTags[from]}`,
    target,
    to === 'dom0' ? 'allow target=dom0' : 'allow',
  )
}

function rule(service: string, argument: string, source: string, target: string, action: string): string {
  return `${service.padEnd(26)} ${argument.padEnd(18)} ${source.padEnd(27)} ${target.padEnd(24)} ${action}`
}
