import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import type { Environment } from '../base/environment.ts'
import { makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { parseDigest } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import type { ObjectReference } from '../repository/format.ts'
import { makeRepository } from '../repository/repository.ts'
import { type ObjectStore, objectName, parseObjectName } from '../storage/object-store.ts'
import type { RepositoryCache } from './repository-cache.ts'

const birthBytesMax = 1024
const reference = fields('object', { id: is.name(parseDigest), bytes: is.integer(1) })
const parseBirth = fields('birth', { keyFile: reference, config: reference })

/** Key file and config of a repository: what the ledger pins. */
export interface Birth {
  readonly keyFile: ObjectReference
  readonly config: ObjectReference
}

/**
 * Makes the key file and config of a new repository and stores them. Both are kept in dom0 before storage sees them, so
 * that after a crash the very same objects are put again: a second config could never take the first one's name.
 */
export async function giveBirth(
  directory: string,
  cache: RepositoryCache,
  store: ObjectStore,
  passphrase: Secret,
  environment: Environment,
  signal: AbortSignal,
): Promise<Birth> {
  const file = path.join(directory, 'birth.json')
  const untrustedBytes = await readBounded(file, birthBytesMax)
  let birth =
    untrustedBytes?.parse(bytes => parseBirth(parseJson(bytes, { bytesMax: birthBytesMax }))) ?? null
  if (birth === null) {
    await makePrivateDirectory(directory)
    using made = await makeRepository(passphrase, environment)
    const refer = ({ id, bytes }: ObjectReference) => ({ id, bytes })
    birth = { keyFile: refer(made.keyFile), config: refer(made.config) }
    await cache.keep(objectName('keys', made.keyFile.id), made.keyFile.body)
    await cache.keep(parseObjectName('config'), made.config.body)
    await writeDurably(file, utf8(JSON.stringify(birth)))
  }
  const { keyFile, config } = birth
  await store.put(objectName('keys', keyFile.id), await cache.get('keys', keyFile, store, signal), signal)
  await store.put(parseObjectName('config'), await cache.get('config', config, store, signal), signal)
  return birth
}
