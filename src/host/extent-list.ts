import { KiB } from '../base/bytes.ts'
import { HostError } from './errors.ts'
import type { Extent } from './volumes.ts'

/*
 * Extents as they are found, made fit for a reader. Ranges shorter than any chunk help nobody and would make the list
 * as long as a volume is fragmented, so they become `data`, which is always right.
 */

/** Shorter ranges are not worth telling. */
export const grainBytesMin = 64 * KiB
/** At some 60 bytes each. */
const countMaxDefault = 100_000

export class ExtentList {
  readonly #bytes: number
  readonly #countMax: number
  #grain = grainBytesMin
  /** No two neighbours have the same kind, except where `#coarsen` has been. */
  #extents: Extent[] = []
  #end = 0

  /** For a volume of `bytes`. More than `countMax` extents are never held: ranges must then be longer to be told. */
  constructor(bytes: number, countMax = countMaxDefault) {
    this.#bytes = bytes
    this.#countMax = countMax
  }

  /** Where the next range begins. */
  get end(): number {
    return this.#end
  }

  /** The range from the end of the last one up to `end`, or to the end of the volume if that is nearer. */
  add(kind: Extent['kind'], end: number): void {
    if (!Number.isSafeInteger(end) || end < this.#end)
      throw new HostError('VOLUME_MAP', `a range that begins at ${this.#end} ends at ${end}`)
    const length = Math.min(end, this.#bytes) - this.#end
    if (length <= 0) return
    append(this.#extents, { kind, offset: this.#end, length })
    this.#end += length
    if (this.#extents.length > this.#countMax) this.#coarsen()
  }

  /** All extents, covering the volume; what was not added is `data`. */
  finish(): readonly Extent[] {
    this.add('data', this.#bytes)
    return coarse(this.#extents, this.#grain)
  }

  #coarsen(): void {
    // The last one may still grow.
    const last = this.#extents.pop()
    this.#extents = coarse(this.#extents, this.#grain)
    while (this.#extents.length > this.#countMax / 2) {
      this.#grain *= 2
      this.#extents = coarse(this.#extents, this.#grain)
    }
    if (last !== undefined) this.#extents.push(last)
  }
}

/** The whole volume, of which nothing is known. */
export function allData(bytes: number): readonly Extent[] {
  return bytes === 0 ? [] : [{ kind: 'data', offset: 0, length: bytes }]
}

function coarse(extents: readonly Extent[], grain: number): Extent[] {
  const result: Extent[] = []
  for (const extent of extents) append(result, extent.length < grain ? { ...extent, kind: 'data' } : extent)
  return result
}

function append(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1)
  if (last?.kind === extent.kind)
    extents[extents.length - 1] = { ...last, length: last.length + extent.length }
  else extents.push(extent)
}
