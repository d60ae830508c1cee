import type { Environment } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import type { Secret } from '../base/secret.ts'
import { RepositoryKey } from '../crypto/aead.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { type ObjectStore, objectName, parseObjectName } from '../storage/object-store.ts'
import { createConfig, encodeConfig, parseConfig, type RepositoryConfig } from './config.ts'
import { RepositoryError } from './errors.ts'
import type { StoredObject } from './format.ts'
import { createKeyFile, openKeyFile } from './key-file.ts'
import { PackThreads } from './pack-threads.ts'

/** An opened repository: its master key is in memory until it is disposed of. */
export class Repository implements Disposable {
  readonly key: RepositoryKey
  readonly config: RepositoryConfig
  /** They hold the key too, for as long as this does. */
  readonly threads: PackThreads

  constructor(key: RepositoryKey, config: RepositoryConfig) {
    this.key = key
    this.config = config
    this.threads = new PackThreads(key)
  }

  [Symbol.dispose](): void {
    this.threads[Symbol.dispose]()
    this.key[Symbol.dispose]()
  }
}

export interface CreatedRepository extends Disposable {
  readonly repository: Repository
  /** To be pinned by the ledger and kept beside it: opening needs both, and never asks the storage for them. */
  readonly keyFile: StoredObject
  readonly config: StoredObject
}

/** A new master key, sealed into a key file for `passphrase`, and a config. Stores nothing. */
export async function makeRepository(
  passphrase: Secret,
  environment: Environment,
): Promise<CreatedRepository> {
  const { entropy } = environment
  const repository = new Repository(RepositoryKey.generate(entropy), createConfig(entropy))
  try {
    const keyFile = stored(await createKeyFile(repository.key, passphrase, environment))
    const config = stored(repository.key.seal(encodeConfig(repository.config), entropy))
    return { repository, keyFile, config, [Symbol.dispose]: () => repository[Symbol.dispose]() }
  } catch (error) {
    repository[Symbol.dispose]()
    throw error
  }
}

/** Writes a key file and then a config. A second repository in the same place fails with `STORAGE_TAKEN`. */
export async function createRepository(
  store: ObjectStore,
  passphrase: Secret,
  environment: Environment,
  signal: AbortSignal,
): Promise<CreatedRepository> {
  const made = await makeRepository(passphrase, environment)
  try {
    await store.put(objectName('keys', made.keyFile.id), made.keyFile.body, signal)
    await store.put(parseObjectName('config'), made.config.body, signal)
    return made
  } catch (error) {
    made[Symbol.dispose]()
    throw error
  }
}

export interface RepositoryPins {
  /** SHA-256 of the bytes. */
  readonly keyFile: string
  readonly config: string
}

/**
 * Opens a repository from copies of its key file and config, which may come from anywhere as long as they are the
 * pinned ones. The caller keeps the passphrase and disposes of it, and of the repository. Throws `REPOSITORY_PIN`,
 * `REPOSITORY_PASSPHRASE`, `REPOSITORY_FORMAT`, `KDF_LIMIT`.
 */
export async function openRepository(opening: {
  readonly passphrase: Secret
  readonly keyFile: Uint8Array
  readonly config: Uint8Array
  readonly pinned: RepositoryPins
}): Promise<Repository> {
  requirePinned('key file', opening.keyFile, opening.pinned.keyFile)
  requirePinned('config', opening.config, opening.pinned.config)
  const key = await openKeyFile(opening.keyFile, opening.passphrase)
  try {
    return new Repository(key, parseConfig(key.open(opening.config)))
  } catch (error) {
    key[Symbol.dispose]()
    throw error
  }
}

function requirePinned(what: string, untrustedBytes: Uint8Array, pinned: string): void {
  const found = sha256Hex(untrustedBytes)
  if (found !== pinned)
    throw new RepositoryError(
      'REPOSITORY_PIN',
      `the ${what} is ${found.slice(0, 16)}…; the ledger pins ${printable(pinned).slice(0, 16)}…`,
    )
}

function stored(body: Uint8Array): StoredObject {
  return { id: sha256Hex(body), bytes: body.byteLength, body }
}
