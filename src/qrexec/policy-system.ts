import { renderToken, type Token } from './policy-tokens.ts'

/** What policy is judged by, as qubesd's `internal.GetSystemInfo` tells it. */
export interface SystemInfo {
  /** By name; dom0 is one of them. */
  readonly domains: ReadonlyMap<string, DomainInfo>
}

export interface DomainInfo {
  /** AppVM, TemplateVM, StandaloneVM, DispVM, AdminVM, RemoteVM */
  readonly type: string
  readonly tags: readonly string[]
  readonly running: boolean
  readonly templateForDispvms: boolean
  readonly defaultDispvm: string | null
  readonly uuid?: string
  /** Never offered to a person who is asked. */
  readonly internal?: boolean
}

const dom0Names = new Set(['@adminvm', 'dom0', 'uuid:00000000-0000-0000-0000-000000000000'])

/** Whether a name or rendered token means dom0. */
export function isDom0(text: string): boolean {
  return dom0Names.has(text)
}

/** The name of a VM given by name or `uuid:…`; `null` if there is none. */
export function nameOf(text: string, system: SystemInfo): string | null {
  if (!text.startsWith('uuid:')) return system.domains.has(text) ? text : null
  for (const [name, domain] of system.domains) if (domain.uuid === text.slice(5)) return name
  return null
}

export function domainOf(text: string, system: SystemInfo): DomainInfo | undefined {
  const name = nameOf(text, system)
  return name === null ? undefined : system.domains.get(name)
}

/** Whether a token of a rule matches the calling VM. */
export function matchesSource(token: Token, source: string, system: SystemInfo): boolean {
  return matchesName(token, source, system)
}

/** Whether a token of a rule matches what was asked for. `source` is needed for the caller's own default disposable. */
export function matchesTarget(token: Token, requested: Token, source: string, system: SystemInfo): boolean {
  if (token.kind === 'dispvm-of') {
    if (requested.kind === 'dispvm') return domainOf(source, system)?.defaultDispvm === token.value
    return requested.kind === 'dispvm-of' && sameVm(token.value, requested.value, system)
  }
  if (token.kind === 'dispvm-tag') {
    const base =
      requested.kind === 'dispvm'
        ? domainOf(source, system)?.defaultDispvm
        : requested.kind === 'dispvm-of' && requested.value
    const domain = base ? domainOf(base, system) : undefined
    return domain?.templateForDispvms === true && domain.tags.includes(token.value)
  }
  return matchesName(token, renderToken(requested), system)
}

/** `other`: a VM's name, or a rendered `@adminvm`, `@default`, `@dispvm…`, which only few tokens match. */
function matchesName(token: Token, other: string, system: SystemInfo): boolean {
  switch (token.kind) {
    case 'all':
      return true
    case 'anyvm':
      return !isDom0(other)
    case 'adminvm':
      return isDom0(other)
    case 'name':
      return isDom0(token.value) ? isDom0(other) : sameVm(token.value, other, system)
    case 'tag':
      return domainOf(other, system)?.tags.includes(token.value) === true
    case 'type':
      return domainOf(other, system)?.type === token.value
    case 'default':
    case 'dispvm':
      return other === renderToken(token)
    case 'dispvm-of':
    case 'dispvm-tag':
      return false
  }
}

function sameVm(one: string, other: string, system: SystemInfo): boolean {
  if (one === other) return true
  const name = nameOf(one, system)
  return name !== null && name === nameOf(other, system)
}

/** What a rule's token stands for when a person is to choose: names, `@dispvm`, `@dispvm:NAME`, `@adminvm`. */
export function expand(token: Token, system: SystemInfo): readonly string[] {
  const names = [...system.domains.keys()]
  const bases = [...system.domains].filter(([, domain]) => domain.templateForDispvms)
  switch (token.kind) {
    case 'all':
    case 'anyvm':
      return [
        ...names.filter(name => token.kind === 'all' || !isDom0(name)),
        ...bases.map(([name]) => `@dispvm:${name}`),
        '@dispvm',
      ]
    case 'adminvm':
    case 'dispvm':
      return [renderToken(token)]
    case 'default':
      return []
    case 'tag':
    case 'type':
      return names.filter(name => matchesName(token, name, system))
    case 'dispvm-tag':
      return bases
        .filter(([, domain]) => domain.tags.includes(token.value))
        .map(([name]) => `@dispvm:${name}`)
    case 'name':
    case 'dispvm-of': {
      const name = nameOf(token.value, system)
      if (name === null) return []
      if (token.kind === 'name') return [name]
      return system.domains.get(name)?.templateForDispvms ? [`@dispvm:${name}`] : []
    }
  }
}
