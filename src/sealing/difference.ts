import { view } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { sha256Hex } from '../crypto/digest.ts'

/*
 * What would change, in words, for the person who decides. Nothing is left out and nothing can hide: long lines are
 * shown whole, characters that do not print become `?`, and what is no text is shown by its size and digest.
 */

/** Beyond this many lines on either side a file is shown as replaced, instead of searching for what stayed. */
const comparedLinesMax = 2000
const shownPartLength = 1000
/** What looks like nothing or like a space, and is neither. */
const blank = /[\u115f\u1160\u2800\u3164\uffa0\p{Default_Ignorable_Code_Point}]|(?! )\p{Zs}/gu

/** How many files came, changed and went. */
export function countDifference(
  before: ReadonlyMap<string, Uint8Array>,
  after: ReadonlyMap<string, Uint8Array>,
): { readonly added: number; readonly changed: number; readonly removed: number } {
  const added = [...after.keys()].filter(path => !before.has(path)).length
  const removed = [...before.keys()].filter(path => !after.has(path)).length
  const changed = [...after].filter(([path, bytes]) => {
    const old = before.get(path)
    return old !== undefined && !view(old).equals(bytes)
  }).length
  return { added, changed, removed }
}

/** One line of text each: `added PATH`, `removed PATH` or `changed PATH`, followed by `  + line` and `  - line`. */
export function describeDifference(
  before: ReadonlyMap<string, Uint8Array>,
  after: ReadonlyMap<string, Uint8Array>,
): readonly string[] {
  const paths = [...new Set([...before.keys(), ...after.keys()])].sort()
  return paths.flatMap(path => describeFile(path, before.get(path), after.get(path)))
}

function describeFile(
  path: string,
  before: Uint8Array | undefined,
  after: Uint8Array | undefined,
): readonly string[] {
  if (before !== undefined && after !== undefined && view(before).equals(after)) return []
  const verb = before === undefined ? 'added' : after === undefined ? 'removed' : 'changed'
  const old = linesOf(before)
  const now = linesOf(after)
  if (old === null || now === null)
    return [
      `${verb} ${printable(path)}: no text, ${sizeAndDigest(before)} before, ${sizeAndDigest(after)} after`,
    ]
  return [`${verb} ${printable(path)}`, ...compareLines(old, now)]
}

function sizeAndDigest(bytes: Uint8Array | undefined): string {
  return bytes === undefined ? 'nothing' : `${bytes.byteLength} bytes (SHA-256 ${sha256Hex(bytes)})`
}

/** A missing last line end is shown, since it too is a difference. */
function linesOf(bytes: Uint8Array | undefined): readonly string[] | null {
  if (bytes === undefined || bytes.byteLength === 0) return []
  const text = view(bytes).toString('utf8')
  if (!view(bytes).equals(Buffer.from(text, 'utf8'))) return null
  const lines = text.split('\n')
  const last = lines.pop() ?? ''
  return last === '' ? lines : [...lines, `${last} (no line end)`]
}

function compareLines(before: readonly string[], after: readonly string[]): readonly string[] {
  const start = commonLength(before, after)
  const end = commonLength([...before.slice(start)].reverse(), [...after.slice(start)].reverse())
  const old = before.slice(start, before.length - end)
  const now = after.slice(start, after.length - end)
  if (old.length > comparedLinesMax || now.length > comparedLinesMax)
    return [...old.map(line => `  - ${shown(line)}`), ...now.map(line => `  + ${shown(line)}`)]
  return editScript(old, now)
}

function commonLength(one: readonly string[], other: readonly string[]): number {
  let length = 0
  while (length < one.length && length < other.length && one[length] === other[length]) length++
  return length
}

/** The shortest list of removals and additions, by the longest common subsequence of lines. */
function editScript(old: readonly string[], now: readonly string[]): readonly string[] {
  const width = now.length + 1
  // common[i * width + j]: length of the longest common subsequence of old[i…] and now[j…].
  const common = new Uint16Array((old.length + 1) * width)
  const at = (i: number, j: number) => common[i * width + j] ?? 0
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      common[i * width + j] = old[i] === now[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
  const script: string[] = []
  for (let i = 0, j = 0; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) {
      i++
      j++
    } else if (i < old.length && (j === now.length || at(i + 1, j) >= at(i, j + 1)))
      script.push(`  - ${shown(old[i++] ?? '')}`)
    else script.push(`  + ${shown(now[j++] ?? '')}`)
  }
  return script
}

/** `printable` cuts what is long, so a long line goes through it in parts. */
function shown(line: string): string {
  let text = ''
  for (let at = 0; at < line.length; at += shownPartLength)
    text += printable(line.slice(at, at + shownPartLength))
  return text.replace(blank, '?')
}
