import type { YamlEntry, YamlList, YamlMapping, YamlNode, YamlScalar } from './yaml-node.ts'
import { typeOfPlainScalar } from './yaml-scalar.ts'

/*
 * The plain part of YAML that nearly all profiles are written in, some twenty times as fast as the whole language: a
 * fleet's thousands of profiles are read again whenever the sealed store is looked at. ASCII only; keys, words, quoted
 * text without escapes, lists and mappings in one line, lists with dashes. Whatever else appears, faults included, gives `null`, and
 * the whole parser decides. A test holds that both see the same.
 */

const depthMax = 8
const line = /^( *)(- +)?(?:([a-z_]+):(?: +|$))?(.*?) *$/
const token = /"[^"\\]*"|'[^']*'|[A-Za-z0-9/][A-Za-z0-9._/+@-]*/y
const flowKey = /([a-z_]+): +/y
const comment = /^(?: +#.*)?$/

interface Line {
  readonly number: number
  readonly indent: number
  readonly dash: boolean
  readonly key: string | null
  readonly value: YamlNode | null
}

/** The tree, the same as `parseYaml` gives, or `null` for a text that is not plain. */
export function parsePlainYaml(text: string): YamlMapping | null {
  if (!/^[\n\x20-\x7E]*$/.test(text)) return null
  const lines: Line[] = []
  for (const [index, source] of text.split('\n').entries()) {
    if (/^ *(?:#.*)?$/.test(source)) continue
    const read = readLine(source, index + 1)
    if (read === null) return null
    lines.push(read)
  }
  const reader = new BlockReader(lines)
  const root = lines[0]?.indent === 0 ? reader.mapping(0, 0) : null
  return reader.atEnd ? root : null
}

function readLine(source: string, number: number): Line | null {
  const match = line.exec(source)
  if (match === null) return null
  const [, spaces = '', dash = '', key = null, rest = ''] = match
  if ((dash === '') === (key === null) || (key !== null && typeOfPlainScalar(key) !== 'text')) return null
  const start = source.length - source.slice(spaces.length + dash.length).length
  const at = key === null ? start : source.indexOf(rest, start + key.length + 1)
  const value = rest === '' ? null : readValue(source, at, number)
  if (value === null && (dash !== '' || (rest !== '' && !rest.startsWith('#')))) return null
  return { number, indent: spaces.length, dash: dash !== '', key, value }
}

function readValue(source: string, at: number, number: number): YamlNode | null {
  const read = source[at] === '{' ? readFlowMapping(source, at, number) : readListOrScalar(source, at, number)
  return read !== null && comment.test(source.slice(read.end)) ? read.node : null
}

interface Read<Node> {
  readonly node: Node
  readonly end: number
}

function readScalar(source: string, at: number, number: number): Read<YamlScalar> | null {
  token.lastIndex = at
  const word = token.exec(source)?.[0]
  if (word === undefined) return null
  const quoted = word.startsWith('"') || word.startsWith("'")
  const text = quoted ? word.slice(1, -1) : word
  const type = quoted ? 'text' : typeOfPlainScalar(text)
  return {
    node: { kind: 'scalar', at: { line: number, column: at + 1 }, type, text },
    end: at + word.length,
  }
}

function readListOrScalar(
  source: string,
  at: number,
  number: number,
): Read<YamlScalar> | Read<YamlList> | null {
  return source[at] === '[' ? readFlowList(source, at, number) : readScalar(source, at, number)
}

function readFlowList(source: string, at: number, number: number): Read<YamlList> | null {
  const items: YamlScalar[] = []
  const end = readFlow(source, at, ']', place => {
    const item = readScalar(source, place, number)
    if (item !== null) items.push(item.node)
    return item?.end ?? null
  })
  return end === null ? null : { node: { kind: 'list', at: { line: number, column: at + 1 }, items }, end }
}

/** Of scalars, and of lists of them. */
function readFlowMapping(source: string, at: number, number: number): Read<YamlMapping> | null {
  const entries: YamlEntry[] = []
  const end = readFlow(source, at, '}', place => {
    flowKey.lastIndex = place
    const [whole, key] = flowKey.exec(source) ?? []
    if (whole === undefined || key === undefined || typeOfPlainScalar(key) !== 'text') return null
    const value = readListOrScalar(source, place + whole.length, number)
    if (value === null || entries.some(entry => entry.key === key)) return null
    entries.push({ key, keyAt: { line: number, column: place + 1 }, value: value.node })
    return value.end
  })
  return end === null
    ? null
    : { node: { kind: 'mapping', at: { line: number, column: at + 1 }, entries }, end }
}

/**
 * What stands between the bracket at `at` and `close`, with commas between: `readItem` is given where one begins, and
 * gives where it ends. Gives what is behind `close`, or `null`.
 */
function readFlow(
  source: string,
  at: number,
  close: string,
  readItem: (place: number) => number | null,
): number | null {
  const skipSpaces = (from: number) => {
    let next = from
    while (source[next] === ' ') next += 1
    return next
  }
  let next = skipSpaces(at + 1)
  while (source[next] !== close) {
    const end = readItem(next)
    if (end === null) return null
    next = skipSpaces(end)
    if (source[next] === ',') next = skipSpaces(next + 1)
    else if (source[next] !== close) return null
  }
  return next + 1
}

class BlockReader {
  readonly #lines: readonly Line[]
  #next = 0

  constructor(lines: readonly Line[]) {
    this.#lines = lines
  }

  get atEnd(): boolean {
    return this.#next === this.#lines.length
  }

  mapping(indent: number, depth: number): YamlMapping | null {
    const entries: YamlEntry[] = []
    const first = this.#lines[this.#next]
    if (first === undefined || depth > depthMax) return null
    for (;;) {
      const current = this.#lines[this.#next]
      if (current === undefined || current.key === null || current.indent !== indent) break
      this.#next += 1
      const key = current.key
      const value = current.value ?? this.#child(indent, depth)
      if (value === null || entries.some(entry => entry.key === key)) return null
      entries.push({ key, keyAt: { line: current.number, column: indent + 1 }, value })
    }
    return { kind: 'mapping', at: { line: first.number, column: indent + 1 }, entries }
  }

  /** What stands below a key without a value: a deeper mapping, or a list that may be as deep as the key. */
  #child(indent: number, depth: number): YamlNode | null {
    const first = this.#lines[this.#next]
    if (first === undefined || first.indent < indent || (first.indent === indent && !first.dash)) return null
    return first.dash ? this.#list(first.indent) : this.mapping(first.indent, depth + 1)
  }

  #list(indent: number): YamlList | null {
    const items: YamlNode[] = []
    const first = this.#lines[this.#next]
    for (;;) {
      const current = this.#lines[this.#next]
      if (current === undefined || !current.dash || current.indent !== indent) break
      if (current.value === null) return null
      items.push(current.value)
      this.#next += 1
    }
    return first === undefined
      ? null
      : { kind: 'list', at: { line: first.number, column: indent + 1 }, items }
  }
}
