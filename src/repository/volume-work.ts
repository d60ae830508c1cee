import { sha256 } from '../crypto/digest.ts'
import { Claims, type SharedClaims } from './claims.ts'
import { ContentMap, type SharedContent } from './content-map.ts'
import { Fingerprints, type SharedFingerprints } from './fingerprints.ts'
import { IndexTableReader, type IndexTableShare } from './index-table-reader.ts'
import type { SharedSegments } from './segments.ts'
import { isSampled } from './volume-plan.ts'

/** One volume, as all threads of a backup are given it. */
export interface VolumeWork {
  readonly name: string
  /** A file or device. */
  readonly path: string
  readonly content: SharedContent
  readonly fingerprints: SharedFingerprints
  /** What the volume held before; a chunk that has the same fingerprint is not hashed again. */
  readonly earlier: {
    readonly content: SharedContent
    readonly tags: SharedFingerprints
    readonly turn: number
  } | null
  readonly segments: SharedSegments
  /** What is in the repository already. */
  readonly known: IndexTableShare
  /** What is new, as soon as a thread has taken it upon itself. */
  readonly claims: SharedClaims
}

/** Where the chunks of one volume are noted, for one thread. */
export class VolumeChunks {
  readonly #content: ContentMap
  readonly #fingerprints: Fingerprints
  readonly #earlier: {
    readonly content: ContentMap
    readonly fingerprints: Fingerprints
    readonly turn: number
  } | null
  readonly #known: IndexTableReader
  readonly #claims: Claims

  constructor({ content, fingerprints, earlier, known, claims }: VolumeWork) {
    this.#content = new ContentMap(content)
    this.#fingerprints = new Fingerprints(fingerprints)
    this.#earlier =
      earlier === null
        ? null
        : {
            content: new ContentMap(earlier.content),
            fingerprints: new Fingerprints(earlier.tags),
            turn: earlier.turn,
          }
    this.#known = new IndexTableReader(known)
    this.#claims = new Claims(claims)
  }

  get chunkBytes(): number {
    return this.#content.chunkBytes
  }

  /** Notes a chunk that is not zeros. Its id if it is the caller's to store; `null` if it is stored, or someone else does. */
  idOfNew(chunk: number, plaintext: Uint8Array): Uint8Array | null {
    const fingerprint = this.#fingerprints.take(plaintext)
    this.#fingerprints.set(chunk, fingerprint)
    if (this.#isWhatItWas(chunk, fingerprint)) return null
    const id = sha256(plaintext)
    this.#content.set(chunk, id)
    return this.#known.find('data', id) === null && this.#claims.claim(id) ? id : null
  }

  #isWhatItWas(chunk: number, fingerprint: Uint8Array): boolean {
    if (this.#earlier === null || isSampled(chunk, this.#earlier.turn)) return false
    const { content, fingerprints } = this.#earlier
    if (content.get(chunk) === null || !fingerprints.is(chunk, fingerprint)) return false
    this.#content.copy(content, chunk, chunk + 1)
    return true
  }
}
