import { utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'
import { type RecoveryKey, recoveryKeyOf, scalarLength, scalarOf } from './recovery.ts'
import { wrongWordOf } from './slip39/checksum.ts'
import { decryptSecret, encryptSecret } from './slip39/cipher.ts'
import { decodeShare, encodeShare, type Share, wordCountOf } from './slip39/share.ts'
import { joinSecret, splitSecret } from './slip39/sharing.ts'
import { wordList } from './slip39/word-list.ts'

/*
 * Recovery keys as words: the 32 bytes of the key as SLIP-0039 shares without groups and without a passphrase, which every
 * tool of that standard joins. A number of 15 bits says which shares belong together, and a digest of the key in them
 * whether they do.
 */

const sharesMax = 16
/** Shares made here have 0, those of other tools 4 at most: each step doubles the time, and 15 would take minutes that nothing ends. */
const exponentMax = 6
const noPassphrase = new Uint8Array(0)
const noGroup = { index: 0, threshold: 1, count: 1 }

/** Of each share of a recovery key. */
export const shareWords = wordCountOf(scalarLength)

export interface Scheme {
  /** How many shares make the key. */
  readonly threshold: number
  readonly count: number
}

/** Throws `HSM_SHARES_SCHEME`. Copies of a whole key are no shares: one is made and copied. */
export function requireScheme({ threshold, count }: Scheme): void {
  const sound = [threshold, count].every(Number.isSafeInteger) && threshold <= count && count <= sharesMax
  if (!sound || threshold < 1 || (threshold === 1 && count > 1))
    throw new HsmError('HSM_SHARES_SCHEME', `${threshold} of ${count} shares`)
}

/**
 * Each share as its words, separated by spaces. All have been joined again before they are given out. Throws
 * `HSM_SHARES_SCHEME` or `HSM_RECOVERY_KEY_INVALID`.
 */
export async function splitRecoveryKey(
  identity: Secret,
  scheme: Scheme,
  entropy: Entropy,
): Promise<readonly Secret[]> {
  requireScheme(scheme)
  const scalar = scalarOf(identity)
  const [high = 0, low = 0] = entropy.bytes(2)
  const parameters = { identifier: ((high & 0x7f) << 8) | low, extendable: true, exponent: 0 }
  const encrypted = encryptSecret(scalar, noPassphrase, parameters)
  const points = await splitSecret(encrypted, scheme, entropy)
  using made = new ShareSet()
  const shares = points.map(({ x: index, value }) => {
    const words = encodeShare({ ...parameters, group: noGroup, index, threshold: scheme.threshold, value })
    made.add(words)
    value.fill(0)
    const text = Secret.take(utf8([...words].map(word => wordList[word]).join(' ')))
    words.fill(0)
    return text
  })
  using again = await made.join()
  using own = recoveryKeyOf(scalar)
  for (const bytes of [scalar, encrypted]) bytes.fill(0)
  if (again.recipient.text !== own.recipient.text)
    throw new HsmError('HSM_SHARES_INVALID', 'the new shares do not give back what was split')
  return shares
}

/** The place, from 0, of the one word that is wrong; `null`: there are more. `undefined`: the check words fit. */
export function faultOf(words: Uint16Array): number | null | undefined {
  return decodeShare(words) === 'checksum' ? wrongWordOf(words) : undefined
}

/** Shares as they come in, one after another. */
export class ShareSet implements Disposable {
  readonly #shares: Share[] = []

  /** How many more are needed; before the first one, one. */
  get missing(): number {
    return Math.max(0, (this.#shares[0]?.threshold ?? 1) - this.#shares.length)
  }

  get size(): number {
    return this.#shares.length
  }

  /**
   * A share, by the numbers of its words. One that is refused leaves the set as it was. Throws `HSM_SHARE_LENGTH`,
   * `HSM_SHARE_DAMAGED`, `HSM_SHARE_FOREIGN`, `HSM_SHARE_TWICE` or `HSM_SHARES_OTHER_KEY`.
   */
  add(words: Uint16Array): void {
    const name = `share ${this.size + 1}`
    if (words.length !== shareWords)
      throw new HsmError('HSM_SHARE_LENGTH', `${name} has ${words.length} words; expected ${shareWords}`)
    const share = decodeShare(words)
    if (share === 'checksum') throw damaged(name, wrongWordOf(words))
    if (typeof share === 'string' || share.group.count > 1 || share.exponent > exponentMax)
      throw new HsmError('HSM_SHARE_FOREIGN', `${name} is not of a recovery key`)
    const [first] = this.#shares
    if (first !== undefined && !sameSet(first, share)) {
      share.value.fill(0)
      throw new HsmError('HSM_SHARES_OTHER_KEY', `${name} does not belong to those before`)
    }
    if (this.#shares.some(({ index }) => index === share.index)) {
      share.value.fill(0)
      throw new HsmError('HSM_SHARE_TWICE', `${name} is share ${share.index + 1} of the cards once more`)
    }
    this.#shares.push(share)
  }

  /** The key. Shares beyond the threshold have to fit as well. Throws `HSM_SHARES_SHORT` or `HSM_SHARES_INVALID`. */
  async join(): Promise<RecoveryKey> {
    const [first] = this.#shares
    if (first === undefined || this.missing > 0)
      throw new HsmError(
        'HSM_SHARES_SHORT',
        first === undefined
          ? 'no share was given'
          : `${this.size} of ${first.threshold} shares that are needed`,
      )
    const points = this.#shares.map(({ index, value }) => ({ x: index, value }))
    const encrypted = await joinSecret(points, first.threshold)
    if (encrypted === null)
      throw new HsmError('HSM_SHARES_INVALID', `the ${this.size} shares do not make one key`)
    const scalar = decryptSecret(encrypted, noPassphrase, first)
    encrypted.fill(0)
    try {
      return recoveryKeyOf(scalar)
    } finally {
      scalar.fill(0)
    }
  }

  [Symbol.dispose](): void {
    for (const { value } of this.#shares.splice(0)) value.fill(0)
  }
}

function damaged(name: string, wrong: number | null): HsmError {
  const what =
    wrong === null
      ? 'two words or more are not the printed ones, or words are in another order'
      : `word ${wrong + 1} is not the printed one`
  return new HsmError('HSM_SHARE_DAMAGED', `${name}: ${what}`)
}

function sameSet(one: Share, other: Share): boolean {
  return (
    one.identifier === other.identifier &&
    one.extendable === other.extendable &&
    one.exponent === other.exponent &&
    one.threshold === other.threshold
  )
}
