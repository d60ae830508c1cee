import { utf8 } from '../base/bytes.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { parsingAs, SealError } from './errors.ts'
import { reportingIo } from './io.ts'

/*
 * A counter outside every disk, against a disk that is put back: it stands at `base + version` of the store. Whoever puts back
 * the store, the floor, the pin and the base together cannot put back the counter.
 */

/** In a TPM, for example. Throws a `CodedError` when it cannot be asked. */
export interface MonotonicCounter {
  read(signal: AbortSignal): Promise<number>
  /** Gives the new value. */
  increment(signal: AbortSignal): Promise<number>
}

export interface AnchoredCounter {
  readonly counter: MonotonicCounter
  /** The file that has the base. */
  readonly basePath: string
  readonly signal: AbortSignal
}

/** Updates that may be installed one after another without the counter at hand. */
const behindMax = 16
const baseBytesMax = 4096

const shape = fields('counter', {
  v: is.literal(1),
  type: is.literal('counter'),
  base: is.integer(Number.MIN_SAFE_INTEGER),
})

/**
 * Brings the counter up to a verified version: updates are written first and counted after, so that a crash between leaves a store
 * that is ahead, never one that is refused. Throws `SEAL_COUNTER_PASSED`, `SEAL_COUNTER_LOST`, `SEAL_COUNTER_UNANCHORED`.
 */
export async function countVersion(
  { counter, basePath, signal }: AnchoredCounter,
  version: number,
): Promise<void> {
  const base = await readCounterBase(basePath)
  const expected = base + version
  let value = await counter.read(signal)
  if (value < expected - behindMax)
    throw new SealError(
      'SEAL_COUNTER_LOST',
      `the counter stands at ${value}; at version ${version} it stood at ${expected}`,
    )
  while (value < expected) {
    const next = await counter.increment(signal)
    if (next <= value)
      throw new SealError(
        'SEAL_COUNTER_LOST',
        `the counter was counted up from ${value}, and stands at ${next}`,
      )
    value = next
  }
  if (value > expected)
    throw new SealError(
      'SEAL_COUNTER_PASSED',
      `version ${version} is on disk; the counter says that version ${value - base} was in force`,
    )
}

/** Says that a version is the one that the counter now stands for. */
export async function anchorCounter(
  { counter, basePath, signal }: AnchoredCounter,
  version: number,
): Promise<number> {
  const base = (await counter.read(signal)) - version
  const text = JSON.stringify({ v: 1, type: 'counter', base })
  await reportingIo(() => writeDurably(basePath, utf8(`${text}\n`), 0o600))
  return base
}

export async function readCounterBase(file: string): Promise<number> {
  const bytes = await reportingIo(() => readBounded(file, baseBytesMax))
  if (bytes === null) throw new SealError('SEAL_COUNTER_UNANCHORED', `there is no ${file}`)
  return bytes.parse(untrustedBytes =>
    parsingAs(
      'SEAL_COUNTER_UNANCHORED',
      'the base of the counter',
      () => shape(parseJson(untrustedBytes, { bytesMax: baseBytesMax })).base,
    ),
  )
}
