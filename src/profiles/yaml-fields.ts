import { CodedError, printable } from '../base/errors.ts'
import { fault, type Position } from './errors.ts'
import { describeNode, type YamlMapping, type YamlNode } from './yaml-node.ts'
import { booleanOfScalar } from './yaml-scalar.ts'

/** Readers of one value each. `what` is the key's name, for messages; all throw `ProfileError` with the place. */

/** The entries of a mapping of which only `known` keys are allowed. */
export function fieldsOf(
  node: YamlNode,
  what: string,
  known: readonly string[],
): ReadonlyMap<string, YamlNode> {
  const mapping = mappingOf(node, what)
  const result = new Map<string, YamlNode>()
  for (const { key, keyAt, value } of mapping.entries) {
    if (!known.includes(key))
      throw fault(
        'PROFILE_KEY_UNKNOWN',
        keyAt,
        `unknown key '${printable(key).slice(0, 80)}' in ${what}; the keys are ${known.join(', ')}`,
      )
    result.set(key, value)
  }
  return result
}

function mappingOf(node: YamlNode, what: string): YamlMapping {
  if (node.kind === 'mapping') return node
  throw wrongType(node, what, 'a mapping')
}

export function textOf(node: YamlNode, what: string): string {
  if (node.kind === 'scalar' && node.type === 'text') return node.text
  throw wrongType(node, what, 'text')
}

export function booleanOf(node: YamlNode, what: string): boolean {
  if (node.kind === 'scalar' && node.type === 'boolean') return booleanOfScalar(node.text)
  throw wrongType(node, what, 'true or false')
}

/** One of a few words. */
export function choiceOf<const T extends string>(node: YamlNode, what: string, choices: readonly T[]): T {
  const text = textOf(node, what)
  const found = choices.find(choice => choice === text)
  if (found !== undefined) return found
  throw fault(
    'PROFILE_VALUE',
    node.at,
    `'${what}' is ${printable(text).slice(0, 60)}; expected ${choices.join(' or ')}`,
  )
}

/** Decimal only: `017` is 15 and `1:30` is 90 in YAML 1.1, which no reader expects. */
export function integerOf(node: YamlNode, what: string, min: number, max: number): number {
  if (node.kind !== 'scalar' || node.type !== 'integer') throw wrongType(node, what, 'a whole number')
  const value = /^(?:0|[1-9][0-9]{0,14})$/.test(node.text) ? Number(node.text) : Number.NaN
  if (!(value >= min && value <= max))
    throw fault(
      'PROFILE_VALUE',
      node.at,
      `'${what}' is ${printable(node.text).slice(0, 60)}; expected a plain decimal number from ${min} to ${max}`,
    )
  return value
}

export function listOf(node: YamlNode, what: string): readonly YamlNode[] {
  if (node.kind === 'list') return node.items
  throw wrongType(node, what, 'a list')
}

/** Text passed through a parser of names.ts or the like. */
export function parsedOf<T>(node: YamlNode, what: string, parser: (untrustedText: string) => T): T {
  const text = textOf(node, what)
  try {
    return parser(text)
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw fault('PROFILE_VALUE', node.at, `'${what}': ${cause.message}`, { cause })
  }
}

export function isNull(node: YamlNode): boolean {
  return node.kind === 'scalar' && node.type === 'null'
}

export function wrongType(node: YamlNode, what: string, expected: string): Error {
  return fault('PROFILE_TYPE', node.at, `'${what}' is ${describeNode(node)}; expected ${expected}`)
}

export function missing(what: string, at: Position): Error {
  return fault('PROFILE_KEY_MISSING', at, `the key '${what}' is missing`)
}
