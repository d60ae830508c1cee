import { equalConstantTime, toHex, utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import type { RepositoryName } from '../base/names.ts'
import { StorageError } from './errors.ts'

const capabilityBytes = 16
/** One a running restore or drill. */
const grantsCountMax = 64

export interface Grant extends Disposable {
  /** 32 hex digits, never given out twice. */
  readonly capability: string
  readonly repository: RepositoryName
  /** Aborted when the grant ends. */
  readonly signal: AbortSignal
}

/** The capabilities to read that are in force. */
export class Grants {
  readonly #entropy: Entropy
  readonly #grants = new Set<Grant>()

  constructor(entropy: Entropy) {
    this.#entropy = entropy
  }

  give(repository: RepositoryName): Grant {
    if (this.#grants.size >= grantsCountMax)
      throw new StorageError(
        'STORAGE_CAPABILITY',
        `${grantsCountMax} capabilities are in force; no more are given`,
      )
    const end = new AbortController()
    const grant: Grant = {
      capability: toHex(this.#entropy.bytes(capabilityBytes)),
      repository,
      signal: end.signal,
      [Symbol.dispose]: () => {
        this.#grants.delete(grant)
        end.abort(new StorageError('STORAGE_CAPABILITY', 'the grant has ended'))
      },
    }
    this.#grants.add(grant)
    return grant
  }

  find(untrustedCapability: string): Grant {
    const wanted = utf8(untrustedCapability)
    const found = [...this.#grants].find(grant => equalConstantTime(utf8(grant.capability), wanted))
    if (found === undefined)
      throw new StorageError('STORAGE_CAPABILITY', 'a capability that is unknown or has ended')
    return found
  }
}
