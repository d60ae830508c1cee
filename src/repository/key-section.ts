import type { EncryptedWriter } from './encrypted-file.ts'
import type { KeySorter } from './key-runs.ts'
import { keysPerPage, samplesBytesFor, wordsPerKey } from './sorted-keys.ts'

export interface KeySectionOptions {
  /** How many keys there are, of which those with numbers below `known` were compared before. */
  readonly keys: number
  readonly known: number
  /** What two entries must have in common to be the same. */
  readonly identityOf: (number: number) => Promise<string>
  readonly onRepeat: (number: number) => void
  readonly onKey?: (high: number, low: number) => void
}

/** Appends all keys in order; returns the samples of `SortedKeys`. */
export async function writeKeys(
  into: EncryptedWriter,
  sorter: KeySorter,
  { keys, known, identityOf, onRepeat, onKey }: KeySectionOptions,
): Promise<Uint32Array> {
  const samples = new Uint32Array(samplesBytesFor(keys) / Uint32Array.BYTES_PER_ELEMENT)
  const alike: number[] = []
  let written = 0
  let [lastHigh, lastLow] = [-1, -1]
  for await (const block of sorter.merged()) {
    for (let at = 0; at < block.length; at += wordsPerKey) {
      const high = block[at] ?? 0
      const low = block[at + 1] ?? 0
      if (high !== lastHigh || low !== lastLow) {
        if (alike.length > 1) await findRepeats(alike, known, identityOf, onRepeat)
        alike.length = 0
      }
      alike.push(block[at + 2] ?? 0)
      if (written % keysPerPage === 0) samples.set([high, low], (2 * written) / keysPerPage)
      onKey?.(high, low)
      lastHigh = high
      lastLow = low
      written += 1
    }
    await into.append(new Uint8Array(block.buffer, block.byteOffset, block.byteLength))
  }
  await findRepeats(alike, known, identityOf, onRepeat)
  await into.align()
  return samples
}

/** Numbers of entries whose keys are alike ascend: the first of a kind is the one that stays. */
async function findRepeats(
  alike: readonly number[],
  known: number,
  identityOf: KeySectionOptions['identityOf'],
  onRepeat: KeySectionOptions['onRepeat'],
): Promise<void> {
  if (alike.length < 2 || (alike.at(-1) ?? 0) < known) return
  const seen = new Set<string>()
  for (const number of alike) {
    const identity = await identityOf(number)
    if (seen.has(identity) && number >= known) onRepeat(number)
    seen.add(identity)
  }
}
