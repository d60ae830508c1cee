import { printable } from '../base/errors.ts'
import { QrexecError } from './errors.ts'
import { type Column, parseToken, renderToken, type Token } from './policy-tokens.ts'

/** Where a rule stands, for logs and messages. */
export interface Place {
  /** Path within the policy directory. */
  readonly file: string
  readonly line: number
}

export interface Allow {
  readonly kind: 'allow'
  /** `target=`: where the call goes instead of where the caller wanted it. */
  readonly target: Token | null
  readonly user: string | null
  readonly notify: boolean
  readonly autostart: boolean
}
export interface Ask extends Omit<Allow, 'kind'> {
  readonly kind: 'ask'
  readonly defaultTarget: Token | null
}
export interface Deny {
  readonly kind: 'deny'
  readonly notify: boolean
}
export type Action = Allow | Ask | Deny

export interface Rule {
  /** `null` is `*`. */
  readonly service: string | null
  /** Without its `+`; `null` is `*`: any, also none. */
  readonly argument: string | null
  readonly source: Token
  readonly target: Token
  readonly action: Action
  readonly place: Place
}

const optionsOf: Readonly<Record<Action['kind'], readonly string[]>> = {
  allow: ['target', 'user', 'notify', 'autostart'],
  ask: ['target', 'default_target', 'user', 'notify', 'autostart'],
  deny: ['notify'],
}

/** `[service, argument, source, target, action, ...options]` of one line; throws `POLICY_INVALID`. */
export function parseRule(words: readonly string[], place: Place): Rule {
  const [service, argument, source, target, action, ...options] = words
  if (
    service === undefined ||
    argument === undefined ||
    source === undefined ||
    target === undefined ||
    action === undefined
  )
    throw invalid(place, `${words.length} fields; expected service, argument, source, target and action`)
  const rule = {
    ...parseService(service, argument, place),
    source: parseColumn(source, 'source', place),
    target: parseColumn(target, 'target', place),
    action: parseAction(action, options, place),
    place,
  }
  if (rule.target.kind === 'default' && rule.action.kind === 'allow' && rule.action.target === null)
    throw invalid(place, 'an allow rule for @default needs target=')
  return rule
}

export function parseService(
  service: string,
  argument: string,
  place: Place,
): { service: string | null; argument: string | null } {
  if (service !== '*' && !/^[A-Za-z0-9._-]+$/.test(service))
    throw invalid(place, `service '${service}' has characters outside A-Z a-z 0-9 . _ -`)
  if (argument === '*') return { service: service === '*' ? null : service, argument: null }
  if (!/^\+[A-Za-z0-9+._-]*$/.test(argument))
    throw invalid(place, `argument '${argument}' is not * or + and characters of A-Z a-z 0-9 + . _ -`)
  if (service === '*') throw invalid(place, 'service * goes only with argument *')
  return { service, argument: argument.slice(1) }
}

function parseColumn(text: string, column: Column, place: Place): Token {
  const token = parseToken(text, column)
  if (token === null) throw invalid(place, `'${text}' is no token for ${column}`)
  return token
}

function parseAction(kind: string, words: readonly string[], place: Place): Action {
  if (kind !== 'allow' && kind !== 'ask' && kind !== 'deny')
    throw invalid(place, `action '${kind}'; expected allow, ask or deny`)
  const options = parseOptions(words, optionsOf[kind], place)
  if (kind === 'deny') return { kind, notify: options.flag('notify', true) }
  const common = {
    target: options.token('target'),
    user: options.text('user'),
    notify: options.flag('notify', false),
    autostart: options.flag('autostart', true),
  }
  return kind === 'allow'
    ? { kind, ...common }
    : { kind, ...common, defaultTarget: options.token('default_target') }
}

function parseOptions(words: readonly string[], known: readonly string[], place: Place) {
  const given = new Map<string, string>()
  for (const word of words) {
    const equals = word.indexOf('=')
    if (equals < 0) throw invalid(place, `option '${word}' without a value`)
    const name = word.slice(0, equals)
    if (!known.includes(name)) throw invalid(place, `option '${name}'; known here are ${known.join(', ')}`)
    if (given.has(name)) throw invalid(place, `option '${name}' is given twice`)
    given.set(name, word.slice(equals + 1))
  }
  return {
    text: (name: string): string | null => given.get(name) ?? null,
    token: (name: string): Token | null => {
      const text = given.get(name)
      return text === undefined ? null : parseColumn(text, 'redirect', place)
    },
    flag: (name: string, otherwise: boolean): boolean => {
      const text = given.get(name)
      if (text !== undefined && text !== 'yes' && text !== 'no')
        throw invalid(place, `option '${name}' is '${text}'; expected yes or no`)
      return text === undefined ? otherwise : text === 'yes'
    },
  }
}

/** One line of a policy; `parseRule` reads it back. Options with their default value are left out. */
export function renderRule(rule: Omit<Rule, 'place'>): string {
  const argument = rule.argument === null ? '*' : `+${rule.argument}`
  const columns = [rule.service ?? '*', argument, renderToken(rule.source), renderToken(rule.target)]
  return [...columns, ...renderAction(rule.action)].join(' ')
}

function renderAction(action: Action): readonly string[] {
  if (action.kind === 'deny') return action.notify ? ['deny'] : ['deny', 'notify=no']
  const words: string[] = [action.kind]
  if (action.target !== null) words.push(`target=${renderToken(action.target)}`)
  if (action.kind === 'ask' && action.defaultTarget !== null)
    words.push(`default_target=${renderToken(action.defaultTarget)}`)
  if (action.user !== null) words.push(`user=${action.user}`)
  if (action.notify) words.push('notify=yes')
  if (!action.autostart) words.push('autostart=no')
  return words
}

export function renderPlace({ file, line }: Place): string {
  return `${file}:${line}`
}

export function invalid(place: Place, fault: string): QrexecError {
  return new QrexecError('POLICY_INVALID', printable(`${renderPlace(place)}: ${fault}`))
}
