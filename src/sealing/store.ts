import type { Clock } from '../base/environment.ts'
import { Serially } from '../base/serially.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { type AnchoredCounter, countVersion } from './counter.ts'
import { nodeDisk, type StoreDisk } from './disk.ts'
import { SealError } from './errors.ts'
import { type Floor, readFloor, writeFloor } from './floor.ts'
import {
  generationOf,
  hasGeneration,
  readGeneration,
  sweepGenerations,
  writeGeneration,
} from './generation.ts'
import { type RootPin, readPin } from './pin.ts'
import type { Sealed, SealedStore } from './sealed-store.ts'
import type { StoreFiles } from './store-files.ts'
import { requireUnexpired, verifyUpdate } from './successor.ts'
import { parseUpdate } from './update.ts'
import { floorOf, type SealedConfiguration, verifyStore } from './verify.ts'

export interface SealedStoreOptions<T> {
  /** The store's own directory; one process may admit updates to it. */
  readonly store: string
  readonly pin: string
  /** Outside `store`, in a directory that exists. */
  readonly floor: string
  /** Given verified bytes only. What it throws refuses the update, or the store. */
  readonly parseConfiguration: (files: ReadonlyMap<string, Uint8Array>) => T
  readonly clock: Clock
  readonly disk?: StoreDisk
  /** Against a disk that is put back as a whole. */
  readonly counter?: AnchoredCounter
}

interface InForce<T> {
  readonly files: StoreFiles
  readonly configuration: SealedConfiguration
  readonly value: T
}

/** A sealed store in a directory, with a floor that a put-back copy cannot pass. */
export class FileSealedStore<T> implements SealedStore<T> {
  readonly #options: SealedStoreOptions<T>
  readonly #pin: RootPin
  #inForce: InForce<T>
  readonly #changes = new Serially()

  private constructor(options: SealedStoreOptions<T>, pin: RootPin, inForce: InForce<T>) {
    this.#options = options
    this.#pin = pin
    this.#inForce = inForce
  }

  /** Verifies what is on disk, advances the floor, and clears away what a crash left. Throws a `CodedError`. */
  static async open<T>(options: SealedStoreOptions<T>): Promise<FileSealedStore<T>> {
    const pin = await readPin(options.pin)
    const files = await readGeneration(options.store)
    const inForce = verify(
      options,
      files,
      verifyStore(files, pin, await readFloor(options.floor), now(options)),
    )
    await count(options, inForce.configuration)
    await writeFloor(options.floor, floorOf(inForce.configuration))
    await sweepGenerations(options.store, options.disk ?? nodeDisk)
    return new FileSealedStore(options, pin, inForce)
  }

  /** Puts a whole store, in the form of an update, where there is none yet: the provisioning of a machine. */
  static async install<T>(
    options: SealedStoreOptions<T>,
    update: Untrusted<Uint8Array>,
  ): Promise<FileSealedStore<T>> {
    if (await hasGeneration(options.store))
      throw new SealError('SEAL_EXISTS', `there is a sealed store in ${options.store} already`)
    const pin = await readPin(options.pin)
    const files = update.parse(parseUpdate)
    const configuration = verifyStore(files, pin, await readFloor(options.floor), now(options))
    requireUnexpired(configuration)
    const store = new FileSealedStore(options, pin, verify(options, files, configuration))
    await store.#replace(store.#inForce)
    return store
  }

  current(): Sealed<T> {
    const { value, configuration } = this.#inForce
    const { version, digest, expires, custody } = configuration
    return { value, version, digest, expires, expired: expires <= now(this.#options), custody }
  }

  /** Every file in force by its path, as it was verified. */
  files(): ReadonlyMap<string, Uint8Array> {
    return this.#inForce.configuration.files
  }

  admit(update: Untrusted<Uint8Array>): Promise<Sealed<T>> {
    return this.#changes.run(() => this.#admit(update))
  }

  /**
   * Verifies the files again as they are now. Throws `SEAL_CHANGED` when they verify but are others, and what is wrong
   * with them when they do not; what was verified before stays in force in this process.
   */
  recheck(): Promise<void> {
    return this.#changes.run(() => this.#recheck())
  }

  async #recheck(): Promise<void> {
    const before = floorOf(this.#inForce.configuration)
    const found = await this.#verifyAgain(before)
    if (found.digest !== before.digest)
      throw new SealError(
        'SEAL_CHANGED',
        `version ${found.version} is on disk; version ${before.version} was verified and is in force`,
      )
  }

  async #verifyAgain(before: Floor): Promise<SealedConfiguration> {
    try {
      const files = await readGeneration(this.#options.store)
      return verifyStore(files, this.#pin, before, now(this.#options))
    } catch (cause) {
      // Where nothing has ever been, that is no alarm; here something was in force.
      if (!(cause instanceof SealError && cause.code === 'SEAL_EMPTY')) throw cause
      const found = `nothing is on disk; version ${before.version} was verified and is in force`
      throw new SealError('SEAL_CHANGED', found, { cause })
    }
  }

  async #admit(update: Untrusted<Uint8Array>): Promise<Sealed<T>> {
    const next = verifyUpdate(this.#inForce.files, update.parse(parseUpdate), this.#pin, now(this.#options))
    await this.#replace(verify(this.#options, next.files, next.configuration))
    return this.current()
  }

  /** The store first, then counter and floor: the other order could leave a store that its own floor refuses. */
  async #replace(next: InForce<T>): Promise<void> {
    const { store, floor, disk = nodeDisk } = this.#options
    const { version, digest } = next.configuration
    await writeGeneration(store, generationOf(version, digest), next.files, disk)
    this.#inForce = next
    await count(this.#options, next.configuration)
    await writeFloor(floor, floorOf(next.configuration))
    // The old generation is in nobody's way; the next start clears it if this fails.
    await sweepGenerations(store, disk).catch(() => {})
  }
}

function verify<T>(
  { parseConfiguration }: SealedStoreOptions<T>,
  files: StoreFiles,
  configuration: SealedConfiguration,
): InForce<T> {
  return { files, configuration, value: parseConfiguration(configuration.files) }
}

async function count<T>({ counter }: SealedStoreOptions<T>, { version }: SealedConfiguration): Promise<void> {
  if (counter !== undefined) await countVersion(counter, version)
}

function now({ clock }: { readonly clock: Clock }): Date {
  return clock.now()
}
