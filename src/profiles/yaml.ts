import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  type Node,
  type ParsedNode,
  parseDocument,
  type YAMLMap,
} from 'yaml'
import { BaseError } from '../base/base-errors.ts'
import { fromUtf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { fault, type Position, ProfileError } from './errors.ts'
import { describeNode, type YamlEntry, type YamlNode, type YamlScalar } from './yaml-node.ts'
import { parsePlainYaml } from './yaml-plain.ts'
import { type ScalarType, typeOfPlainScalar } from './yaml-scalar.ts'

/*
 * YAML 1.1 as stock qubesd reads it (PyYAML safe_load), turned into a small tree with positions. The `yaml` package
 * does the syntax only, under its failsafe schema; what words mean is decided in yaml-scalar.ts. Where the two
 * parsers see different structure in the same bytes (line breaks, control characters, tabs), the file is refused.
 */

const depthMax = 16
const nodesMax = 50_000
const aliasesMax = 100

/** The one document of the file, or `null` for a file without any. Throws `PROFILE_TEXT` or `PROFILE_YAML…`. */
export function parseYaml(untrustedBytes: Uint8Array): YamlNode | null {
  const untrustedText = decode(untrustedBytes)
  return parsePlainYaml(untrustedText) ?? parseWholeYaml(untrustedText)
}

/** The same, without the short cut for plain files. */
export function parseWholeYaml(untrustedText: string): YamlNode | null {
  const position = positions(untrustedText)
  refuseDivergentText(untrustedText, position)
  const document = parseDocument(untrustedText, {
    version: '1.1',
    schema: 'failsafe',
    uniqueKeys: false,
    prettyErrors: false,
    logLevel: 'error',
  })
  const [syntaxError] = document.errors
  if (syntaxError !== undefined)
    throw fault('PROFILE_YAML', position(syntaxError.pos[0]), printable(syntaxError.message))
  const directive = document.warnings.find(warning => warning.code === 'BAD_DIRECTIVE')
  if (directive !== undefined)
    throw fault('PROFILE_YAML_FEATURE', position(directive.pos[0]), printable(directive.message))
  if (document.contents === null) return null
  return new TreeBuilder(document, position).build(document.contents, 0)
}

function decode(untrustedBytes: Uint8Array): string {
  try {
    return fromUtf8(untrustedBytes).replace(/^\uFEFF/, '')
  } catch (cause) {
    if (!(cause instanceof BaseError)) throw cause
    throw new ProfileError('PROFILE_TEXT', 'the profile is not valid UTF-8', { cause })
  }
}

type PositionOf = (offset: number) => Position

function positions(text: string): PositionOf {
  let starts: number[] | null = null
  return offset => {
    if (starts === null) {
      starts = [0]
      for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) starts.push(at + 1)
    }
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = Math.ceil((low + high) / 2)
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    return { line: low + 1, column: offset - (starts[low] ?? 0) + 1 }
  }
}

const divergences: readonly (readonly [RegExp, string])[] = [
  [/\r(?!\n)/, 'a carriage return alone, which some readers take for the end of a line'],
  [/[\u0085\u2028\u2029]/, 'a Unicode line break, which some readers take for the end of a line'],
  [
    /[\u061C\u200E\u200F\u202A-\u202E\u2066-\u2069]/,
    'a character that changes the direction of the text around it',
  ],
  [/[\x00-\x08\x0B\x0C\x0E-\x1F\x7F-\x9F\uFEFF\uFFFE\uFFFF]|\p{Cs}/u, 'a control character'],
  // What follows a key in two parts (`? key`, `: value`) on its own line is dropped by one parser, refused by another.
  [/(?:^|[-,:{[]) *\?(?= |$)/m, 'a question mark that begins a key in two parts'],
  // PyYAML takes a tab for no space: outside a comment it refuses the file.
  [/^(?:[^\n#]|[^\n \t]#)*\t/m, 'a tab; only spaces separate and indent'],
]

function refuseDivergentText(text: string, position: PositionOf): void {
  for (const [pattern, what] of divergences) {
    const found = pattern.exec(text)
    if (found !== null) {
      const offset = found.index + found[0].length - 1
      throw fault('PROFILE_TEXT', position(offset), `the profile has ${what}`)
    }
  }
}

/** Tags that say no more than the value itself does. */
const plainTags: Readonly<Record<string, ScalarType | 'list' | 'mapping'>> = {
  'tag:yaml.org,2002:str': 'text',
  'tag:yaml.org,2002:bool': 'boolean',
  'tag:yaml.org,2002:int': 'integer',
  'tag:yaml.org,2002:null': 'null',
  'tag:yaml.org,2002:seq': 'list',
  'tag:yaml.org,2002:map': 'mapping',
}

class TreeBuilder {
  readonly #position: PositionOf
  /** Anchors seen so far, in document order: an alias means one before it. */
  readonly #anchors = new Map<string, Node>()
  readonly #document: Document.Parsed
  #nodes = 0
  #aliases = 0

  constructor(document: Document.Parsed, position: PositionOf) {
    this.#document = document
    this.#position = position
  }

  build(node: Node | null, depth: number): YamlNode {
    const at = this.#at(node)
    this.#nodes += 1
    if (depth > depthMax) throw fault('PROFILE_YAML_FEATURE', at, `nested deeper than ${depthMax}`)
    if (this.#nodes > nodesMax) throw fault('PROFILE_YAML_FEATURE', at, `more than ${nodesMax} values`)
    if (isAlias(node)) return this.build(this.#resolve(node, at), depth + 1)
    if (node?.anchor !== undefined) this.#remember(node.anchor, node, at)
    if (isSeq(node)) {
      this.#checkTag(node.tag, 'list', at)
      return { kind: 'list', at, items: node.items.map(item => this.build(item as Node | null, depth + 1)) }
    }
    if (isMap(node)) {
      this.#checkTag(node.tag, 'mapping', at)
      return { kind: 'mapping', at, entries: this.#entries(node, depth + 1) }
    }
    return this.#scalar(node, at)
  }

  #scalar(node: Node | null, at: Position): YamlScalar {
    if (!isScalar(node)) return { kind: 'scalar', at, type: 'null', text: '' }
    const text = String(node.value)
    const implicit = node.type === 'PLAIN' ? typeOfPlainScalar(text) : 'text'
    const tagged = node.tag === undefined ? undefined : plainTags[node.tag]
    if (tagged === 'text') return { kind: 'scalar', at, type: 'text', text }
    this.#checkTag(node.tag, implicit, at)
    return { kind: 'scalar', at, type: implicit, text }
  }

  #entries(map: YAMLMap, depth: number): YamlEntry[] {
    const entries: YamlEntry[] = []
    const seen = new Map<string, Position>()
    for (const pair of map.items) {
      const key = this.build(pair.key as Node | null, depth)
      const value = this.build(pair.value as Node | null, depth)
      if (key.kind !== 'scalar' || !(key.type === 'text' || key.type === 'merge'))
        throw fault('PROFILE_TYPE', key.at, `a key is ${describeNode(key)}; expected a word`)
      const added = key.type === 'merge' ? merged(value) : [{ key: key.text, keyAt: key.at, value }]
      for (const entry of added) {
        const first = seen.get(entry.key)
        if (first !== undefined)
          throw fault(
            'PROFILE_KEY_DUPLICATE',
            entry.keyAt,
            `'${printable(entry.key)}' is given twice, first in line ${first.line}`,
          )
        seen.set(entry.key, entry.keyAt)
        entries.push(entry)
      }
    }
    return entries
  }

  #remember(anchor: string, node: Node, at: Position): void {
    const first = this.#anchors.get(anchor)
    // A node is met again where an alias stands for it.
    if (first !== undefined && first !== node)
      throw fault('PROFILE_YAML', at, `the anchor '${printable(anchor)}' is given twice`)
    this.#anchors.set(anchor, node)
  }

  #resolve(alias: Alias, at: Position): Node {
    this.#aliases += 1
    if (this.#aliases > aliasesMax) throw fault('PROFILE_YAML_FEATURE', at, `more than ${aliasesMax} aliases`)
    const node = this.#anchors.get(alias.source)
    if (node === undefined)
      throw fault('PROFILE_YAML', at, `no anchor '${printable(alias.source)}' before this alias`)
    return node
  }

  #checkTag(tag: string | undefined, type: ScalarType | 'list' | 'mapping', at: Position): void {
    if (tag !== undefined && plainTags[tag] !== type)
      throw fault('PROFILE_YAML_FEATURE', at, `the tag ${printable(tag)} is not allowed here`)
  }

  #at(node: Node | null): Position {
    const range = (node as ParsedNode | null)?.range ?? this.#document.range
    return this.#position(range[0])
  }
}

/** What `<<` brings in: one mapping, or a list of them. A key that comes twice is refused by the caller. */
function merged(value: YamlNode): readonly YamlEntry[] {
  if (value.kind === 'mapping') return value.entries
  if (value.kind === 'list') return value.items.flatMap(item => merged(item))
  throw fault('PROFILE_TYPE', value.at, `<< merges ${describeNode(value)}; expected a mapping`)
}
