import { printable } from '../base/errors.ts'
import type { Policy } from './policy-files.ts'
import { type Allow, type Ask, type Rule, renderPlace, renderRule } from './policy-rules.ts'
import { domainOf, expand, isDom0, matchesSource, matchesTarget, type SystemInfo } from './policy-system.ts'
import { parseToken, renderToken, type Token } from './policy-tokens.ts'

export interface PolicyRequest {
  readonly source: string
  /** What the caller asked for: a name, `@adminvm`, `@dispvm`, `@dispvm:NAME`; empty or `@default` for nothing. */
  readonly target: string
  readonly service: string
  /** Without its `+`. */
  readonly argument: string
}

export type Decision =
  | {
      readonly result: 'allow'
      /** A VM's name (or `uuid:…` if it was asked for so), or `@dispvm:NAME`. */
      readonly target: string
      /** `null`: the target VM's default user. */
      readonly user: string | null
      readonly autostart: boolean
      readonly notify: boolean
      readonly rule: Rule
    }
  | {
      readonly result: 'ask'
      readonly targets: readonly string[]
      readonly defaultTarget: string | null
      readonly user: string | null
      readonly autostart: boolean
      readonly notify: boolean
      readonly rule: Rule
    }
  | { readonly result: 'deny'; readonly reason: string; readonly notify: boolean; readonly rule: Rule | null }

type Denial = Extract<Decision, { result: 'deny' }>

/** Judges one call as qrexec-policy-daemon does. Never throws: whatever cannot be understood is denied. */
export function evaluate(policy: Policy, request: PolicyRequest, system: SystemInfo): Decision {
  const requested = requestedTarget(request.target, system)
  if ('result' in requested) return requested
  const rule = policy.rules.find(
    one =>
      matchesCaller(one, request, system) && matchesTarget(one.target, requested, request.source, system),
  )
  if (rule === undefined) return denied('no rule matches')
  const { action } = rule
  switch (action.kind) {
    case 'deny':
      return denied(`by ${renderPlace(rule.place)}`, rule, action.notify)
    case 'allow':
      return allow(rule, action, requested, request, system)
    case 'ask':
      return ask(policy, rule, action, request, system)
  }
}

function matchesCaller(rule: Rule, request: PolicyRequest, system: SystemInfo): boolean {
  return (
    (rule.service === null || rule.service === request.service) &&
    (rule.argument === null || rule.argument === request.argument) &&
    matchesSource(rule.source, request.source, system)
  )
}

function requestedTarget(text: string, system: SystemInfo): Token | Denial {
  const token = parseToken(text === '' ? '@default' : text, 'request')
  return token === null ? denied(`'${printable(text)}' is no target`) : existing(token, system)
}

/** A VM that does not exist becomes `@default`; a disposable of one that is no template for it is denied. */
function existing(token: Token, system: SystemInfo): Token | Denial {
  if (token.kind === 'name' && domainOf(token.value, system) === undefined) return { kind: 'default' }
  if (token.kind === 'dispvm-of' && domainOf(token.value, system)?.templateForDispvms !== true)
    return denied(`${token.value} is no template for disposables`)
  return token
}

function allow(
  rule: Rule,
  action: Allow,
  requested: Token,
  request: PolicyRequest,
  system: SystemInfo,
): Decision {
  const token = existing(action.target ?? requested, system)
  if ('result' in token) return token
  const target = finalTarget(token, request.source, system)
  if (target === null)
    return denied(`neither the caller nor ${renderPlace(rule.place)} names a target that exists`, rule)
  if (!action.autostart && !isReady(target, system))
    return denied(`${target} would have to be started`, rule, action.notify)
  if (target === request.source) return denied('a VM cannot call itself', rule)
  return { result: 'allow', target, ...optionsOf(action), rule }
}

/** `null` when it comes down to nothing: `@default`, or `@dispvm` of a caller without default disposable. */
function finalTarget(token: Token, source: string, system: SystemInfo): string | null {
  if (token.kind === 'default') return null
  if (token.kind === 'adminvm') return 'dom0'
  if (token.kind !== 'dispvm') return renderToken(token)
  const base = domainOf(source, system)?.defaultDispvm
  return base ? `@dispvm:${base}` : null
}

function isReady(target: string, system: SystemInfo): boolean {
  if (isDom0(target)) return true
  return !target.startsWith('@dispvm') && domainOf(target, system)?.running === true
}

function ask(policy: Policy, rule: Rule, action: Ask, request: PolicyRequest, system: SystemInfo): Decision {
  const candidates = action.target
    ? [asChoice(renderToken(action.target))]
    : collectTargets(policy, request, system)
  const targets = candidates.filter(target => action.autostart || isReady(target, system))
  if (targets.length === 0) return denied(`${renderPlace(rule.place)} leaves nothing to choose from`, rule)
  const preferred = action.defaultTarget && finalTarget(action.defaultTarget, request.source, system)
  const defaultTarget = preferred && asChoice(preferred)
  return {
    result: 'ask',
    targets,
    defaultTarget: defaultTarget && targets.includes(defaultTarget) ? defaultTarget : null,
    ...optionsOf(action),
    rule,
  }
}

function asChoice(target: string): string {
  return isDom0(target) ? 'dom0' : target
}

/** All rules for this service, argument and source add their targets, from the last to the first; deny takes away. */
function collectTargets(policy: Policy, request: PolicyRequest, system: SystemInfo): readonly string[] {
  const targets = new Set<string>()
  for (const { action, target } of policy.rules
    .filter(one => matchesCaller(one, request, system))
    .reverse()) {
    const redirect = action.kind === 'deny' ? null : action.target
    for (const name of expand(redirect ?? target, system))
      if (action.kind === 'deny') targets.delete(name)
      else targets.add(name)
  }
  const base = domainOf(request.source, system)?.defaultDispvm
  if (targets.delete('@dispvm') && base) targets.add(`@dispvm:${base}`)
  if (targets.delete('@adminvm')) targets.add('dom0')
  targets.delete(request.source)
  return [...targets]
    .filter(name => domainOf(name.replace(/^@dispvm:/, ''), system)?.internal !== true)
    .sort()
}

function optionsOf({ user, autostart, notify }: Allow | Ask) {
  return { user, autostart, notify }
}

function denied(reason: string, rule: Rule | null = null, notify = true): Denial {
  return { result: 'deny', reason, notify, rule }
}

/** Why a call is judged as it is: every rule for its service up to the one that decides, then the decision. */
export function explain(policy: Policy, request: PolicyRequest, system: SystemInfo): readonly string[] {
  const decision = evaluate(policy, request, system)
  const requested = requestedTarget(request.target, system)
  const lines: string[] = []
  for (const rule of policy.rules) {
    if (rule === decision.rule) break
    if (rule.service !== null && rule.service !== request.service) continue
    const differs = [
      rule.argument !== null && rule.argument !== request.argument && 'argument',
      !matchesSource(rule.source, request.source, system) && 'source',
      !('result' in requested) && !matchesTarget(rule.target, requested, request.source, system) && 'target',
    ].filter(column => column !== false)
    if (differs.length > 0)
      lines.push(`${renderPlace(rule.place)}: ${renderRule(rule)} -- other ${differs.join(', ')}`)
  }
  if (decision.rule)
    lines.push(`${renderPlace(decision.rule.place)}: ${renderRule(decision.rule)} -- decides`)
  return [...lines, summary(decision)]
}

function summary(decision: Decision): string {
  switch (decision.result) {
    case 'allow':
      return `allowed to ${decision.target}`
    case 'ask':
      return `a person must choose among ${decision.targets.join(', ')}`
    case 'deny':
      return `denied: ${decision.reason}`
  }
}
