import path from 'node:path'
import { entryBytesMax } from './entry.ts'
import { LedgerError } from './errors.ts'
import { hashBytes, joinSubtrees, leafHash, perfectRoot } from './merkle.ts'

/*
 * The layout of https://c2sp.org/tlog-tiles: names and content of tiles and entry bundles, and what an append adds to
 * them. Pure.
 */

export const tileWidth = 256
export const tileBytesMax = tileWidth * hashBytes
export const bundleBytesMax = tileWidth * (2 + entryBytesMax)

/** `tile/<L>/<N>[.p/<W>]`; `level` is a number or `entries`. A width of 256 is a full tile. */
export function tileName(level: number | 'entries', index: number, width: number): string {
  const digits = String(index)
  const groups = digits.padStart(3 * Math.ceil(digits.length / 3), '0').match(/\d{3}/g) ?? []
  const elements = groups.map((group, at) => (at < groups.length - 1 ? `x${group}` : group)).join('/')
  return `tile/${level}/${elements}${width === tileWidth ? '' : `.p/${width}`}`
}

export function encodeTile(hashes: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(hashes))
}

export function parseTile(untrustedBytes: Uint8Array, width: number): readonly Uint8Array[] {
  if (untrustedBytes.byteLength !== width * hashBytes)
    throw damaged(`a tile of ${untrustedBytes.byteLength} bytes; expected ${width * hashBytes}`)
  return Array.from({ length: width }, (_, at) => untrustedBytes.slice(at * hashBytes, (at + 1) * hashBytes))
}

export function encodeBundle(entries: readonly Uint8Array[]): Uint8Array {
  const parts = entries.flatMap(entry => {
    const length = Buffer.alloc(2)
    length.writeUInt16BE(entry.byteLength)
    return [length, entry]
  })
  return new Uint8Array(Buffer.concat(parts))
}

export function parseBundle(untrustedBytes: Uint8Array, width: number): readonly Uint8Array[] {
  const bytes = new DataView(untrustedBytes.buffer, untrustedBytes.byteOffset, untrustedBytes.byteLength)
  const entries: Uint8Array[] = []
  let at = 0
  while (entries.length < width) {
    if (at + 2 > bytes.byteLength)
      throw damaged(`an entry bundle of ${entries.length} entries; expected ${width}`)
    const end = at + 2 + bytes.getUint16(at)
    if (end > bytes.byteLength) throw damaged(`an entry bundle that ends within its entry ${entries.length}`)
    entries.push(untrustedBytes.slice(at + 2, end))
    at = end
  }
  if (at !== bytes.byteLength) throw damaged(`an entry bundle with bytes after its ${width} entries`)
  return entries
}

/**
 * The growing right end of the tree: on each level the hashes of its last, partial tile, and the entries of the last,
 * partial bundle. All that an append needs of the tree so far.
 */
export interface TreeEdge {
  readonly size: number
  /** `levels[l]` has `floor(size / 256**l) mod 256` hashes. */
  readonly levels: readonly (readonly Uint8Array[])[]
  readonly entries: readonly Uint8Array[]
}

export const emptyEdge: TreeEdge = { size: 0, levels: [], entries: [] }

/** How many hashes the partial tile of a level has, and which tile it is. */
export function edgeTile(size: number, level: number): { readonly index: number; readonly width: number } {
  const hashes = Math.floor(size / tileWidth ** level)
  return { index: Math.floor(hashes / tileWidth), width: hashes % tileWidth }
}

/** How many levels of tiles a tree has. */
export function levelsOf(size: number): number {
  let levels = 0
  while (tileWidth ** levels <= size) levels += 1
  return levels
}

export function edgeRoot({ levels }: TreeEdge): Uint8Array {
  return joinSubtrees([...levels].reverse().flatMap(perfectSubtrees))
}

/** The roots of the perfect subtrees over the hashes of one partial tile, largest first. */
function perfectSubtrees(hashes: readonly Uint8Array[]): Uint8Array[] {
  const roots: Uint8Array[] = []
  let at = 0
  for (let width = tileWidth / 2; width >= 1; width /= 2)
    if (Math.floor(hashes.length / width) % 2 === 1) {
      roots.push(perfectRoot(hashes.slice(at, at + width)))
      at += width
    }
  return roots
}

export interface GrownTree {
  readonly edge: TreeEdge
  /** Files to write: names and content. None of them is needed by the tree before. */
  readonly files: ReadonlyMap<string, Uint8Array>
}

/** What the tree is after `added` entries, and which files it then has that it did not have before. */
export function grow(edge: TreeEdge, added: readonly Uint8Array[]): GrownTree {
  const files = new Map<string, Uint8Array>()
  const levels = edge.levels.map(hashes => [...hashes])
  let entries = [...edge.entries]
  let size = edge.size
  const push = (level: number, hash: Uint8Array): void => {
    levels[level] ??= []
    const tile = levels[level]
    tile.push(hash)
    if (tile.length < tileWidth) return
    const index = Math.floor(size / tileWidth ** (level + 1)) - 1
    files.set(tileName(level, index, tileWidth), encodeTile(tile))
    levels[level] = []
    push(level + 1, perfectRoot(tile))
  }
  for (const entry of added) {
    entries.push(entry)
    size += 1
    if (entries.length === tileWidth) {
      files.set(tileName('entries', size / tileWidth - 1, tileWidth), encodeBundle(entries))
      entries = []
    }
    push(0, leafHash(entry))
  }
  const grown: TreeEdge = { size, levels, entries }
  for (const [name, bytes] of partialFiles(grown, edge)) files.set(name, bytes)
  return { edge: grown, files }
}

function partialFiles(edge: TreeEdge, before: TreeEdge): ReadonlyMap<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  edge.levels.forEach((hashes, level) => {
    const { index, width } = edgeTile(edge.size, level)
    const old = edgeTile(before.size, level)
    if (width === 0 || (old.index === index && old.width === width)) return
    files.set(tileName(level, index, width), encodeTile(hashes))
    if (level === 0) files.set(tileName('entries', index, width), encodeBundle(edge.entries))
  })
  return files
}

/** Partial tiles of the tree `before` that the tree `after` has no use for: files, or whole directories of them. */
export function supersededTiles(before: number, after: number): readonly string[] {
  const names: string[] = []
  for (let level = 0; level < levelsOf(before); level += 1) {
    const { index, width } = edgeTile(before, level)
    const now = edgeTile(after, level)
    if (width === 0 || (now.index === index && now.width === width)) continue
    for (const kind of level === 0 ? ([level, 'entries'] as const) : [level]) {
      const name = tileName(kind, index, width)
      names.push(now.index === index ? name : path.posix.dirname(name))
    }
  }
  return names
}

function damaged(message: string): LedgerError {
  return new LedgerError('LEDGER_DAMAGED', message)
}
