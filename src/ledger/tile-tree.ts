import { equalConstantTime } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { LedgerError } from './errors.ts'
import { fileError, type LedgerFiles } from './files.ts'
import { leafHash, perfectRoot } from './merkle.ts'
import type { HashSource } from './proofs.ts'
import {
  bundleBytesMax,
  edgeTile,
  levelsOf,
  parseBundle,
  parseTile,
  type TreeEdge,
  tileBytesMax,
  tileName,
  tileWidth,
} from './tiles.ts'

type Tile = readonly Uint8Array[]

const cachedTilesMax = 64

/**
 * A tree of one size, read from its tiles. Nothing from the disk is believed: a full tile must hash to its place in the
 * tile above, up to the edge, which whoever made this object has compared with a signed root. Throws `LEDGER_DAMAGED`,
 * which names the file.
 */
export class TileTree implements HashSource {
  readonly #files: LedgerFiles
  readonly #edge: TreeEdge
  readonly #cache: Map<string, Promise<Tile>>

  /** `from` is an older state of the same tree, whose proven tiles stay proven. */
  constructor(files: LedgerFiles, edge: TreeEdge, from?: TileTree) {
    this.#files = files
    this.#edge = edge
    this.#cache = from === undefined ? new Map() : from.#cache
  }

  get size(): number {
    return this.#edge.size
  }

  async subtree(height: number, index: number): Promise<Uint8Array> {
    const level = Math.floor(height / 8)
    const count = 2 ** (height % 8)
    const first = index * count
    const tile = await this.#tile(level, Math.floor(first / tileWidth))
    const at = first % tileWidth
    return perfectRoot(tile.slice(at, at + count))
  }

  /** The entries `[256 * index, 256 * (index + 1))`, as far as there are any. */
  async bundle(index: number): Promise<readonly Uint8Array[]> {
    if (index === edgeTile(this.size, 0).index) return this.#edge.entries
    const name = tileName('entries', index, tileWidth)
    const entries = await readTile(this.#files, name, bundleBytesMax, bytes => parseBundle(bytes, tileWidth))
    requireLeaves(name, entries, await this.#tile(0, index))
    return entries
  }

  async #tile(level: number, index: number): Promise<Tile> {
    if (index === edgeTile(this.size, level).index) return this.#edge.levels[level] ?? []
    const name = tileName(level, index, tileWidth)
    const cached = this.#cache.get(name)
    if (cached !== undefined) return await cached
    const reading = this.#proveTile(name, level, index)
    this.#remember(name, reading)
    return await reading
  }

  async #proveTile(name: string, level: number, index: number): Promise<Tile> {
    const tile = await readTile(this.#files, name, tileBytesMax, bytes => parseTile(bytes, tileWidth))
    const above = await this.#tile(level + 1, Math.floor(index / tileWidth))
    requireHash(name, perfectRoot(tile), above[index % tileWidth])
    return tile
  }

  /** While it is being read, too: the hashes of one proof are often in one tile. A failure is forgotten. */
  #remember(name: string, reading: Promise<Tile>): void {
    this.#cache.set(name, reading)
    reading.catch(() => this.#cache.delete(name))
    const [oldest] = this.#cache.keys()
    if (this.#cache.size > cachedTilesMax && oldest !== undefined) this.#cache.delete(oldest)
  }
}

/** The edge of a tree as it is on disk; its root is still to be compared with the checkpoint. */
export async function readEdge(files: LedgerFiles, size: number): Promise<TreeEdge> {
  const levels: Tile[] = []
  for (let level = 0; level < levelsOf(size); level += 1) {
    const { index, width } = edgeTile(size, level)
    const name = tileName(level, index, width)
    levels.push(
      width === 0 ? [] : await readTile(files, name, tileBytesMax, bytes => parseTile(bytes, width)),
    )
  }
  const { index, width } = edgeTile(size, 0)
  if (width === 0) return { size, levels, entries: [] }
  const name = tileName('entries', index, width)
  const entries = await readTile(files, name, bundleBytesMax, bytes => parseBundle(bytes, width))
  requireLeaves(name, entries, levels[0] ?? [])
  return { size, levels, entries }
}

async function readTile<T>(
  files: LedgerFiles,
  name: string,
  bytesMax: number,
  parse: (untrustedBytes: Uint8Array) => T,
): Promise<T> {
  const found = await files.read(name, bytesMax).catch(cause => {
    throw cause instanceof CodedError
      ? damaged(name, `is too large: ${cause.message}`, cause)
      : fileError(cause)
  })
  if (found === null) throw damaged(name, 'is missing')
  try {
    return found.parse(parse)
  } catch (cause) {
    throw damaged(name, `cannot be read: ${cause instanceof CodedError ? cause.message : 'unknown'}`, cause)
  }
}

function requireLeaves(name: string, entries: readonly Uint8Array[], leaves: Tile): void {
  entries.forEach((entry, at) => {
    requireHash(name, leafHash(entry), leaves[at])
  })
}

function requireHash(name: string, found: Uint8Array, expected: Uint8Array | undefined): void {
  if (expected === undefined || !equalConstantTime(found, expected))
    throw damaged(name, 'is not what the signed checkpoint says')
}

function damaged(name: string, message: string, cause?: unknown): LedgerError {
  return new LedgerError('LEDGER_DAMAGED', `${name} ${message}`, { cause })
}
