import { printable } from '../base/errors.ts'
import type { Position } from './errors.ts'
import type { ScalarType } from './yaml-scalar.ts'

/** A YAML file as a small tree with positions: what a profile is read from. */
export interface YamlScalar {
  readonly kind: 'scalar'
  readonly at: Position
  readonly type: ScalarType
  /** As written, without quotes and escapes. */
  readonly text: string
}
export interface YamlList {
  readonly kind: 'list'
  readonly at: Position
  readonly items: readonly YamlNode[]
}
export interface YamlEntry {
  readonly key: string
  readonly keyAt: Position
  readonly value: YamlNode
}
export interface YamlMapping {
  readonly kind: 'mapping'
  readonly at: Position
  readonly entries: readonly YamlEntry[]
}
export type YamlNode = YamlScalar | YamlList | YamlMapping

const typeNames: Readonly<Record<ScalarType, string>> = {
  text: 'text',
  boolean: 'a boolean',
  integer: 'a number',
  float: 'a number',
  null: 'nothing (null)',
  date: 'a date',
  merge: 'a merge key',
  other: 'a special value',
}

/** For messages: `a boolean ('yes')`. */
export function describeNode(node: YamlNode): string {
  if (node.kind !== 'scalar') return node.kind === 'list' ? 'a list' : 'a mapping'
  const name = typeNames[node.type]
  return node.text === '' ? name : `${name} ('${printable(node.text).slice(0, 60)}')`
}
