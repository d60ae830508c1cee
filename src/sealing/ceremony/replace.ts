import { rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../../base/environment.ts'
import { ignoreMissing, makePrivateDirectory, syncDirectory, writeDurably } from '../../base/files.ts'
import type { Untrusted } from '../../base/untrusted.ts'
import { SealError } from '../errors.ts'
import { readFloor } from '../floor.ts'
import { readGeneration } from '../generation.ts'
import { reportingIo } from '../io.ts'
import { encodePin, readPin } from '../pin.ts'
import { sealedPlace } from '../place.ts'
import type { Sealed } from '../sealed-store.ts'
import { FileSealedStore } from '../store.ts'
import { verifyUnsealing } from '../unseal.ts'
import { verifyStore } from '../verify.ts'

/*
 * `strongroom seal install --unseal`: puts another root, and all that is sealed under it, in the place of what a machine has. All
 * of it is made and verified in a directory beside; then two are renamed. What was there stays as `<directory>.unsealed`.
 */

export interface ReplaceOptions<T> {
  /** Of the machine: `store`, `pin.json`, `floor.json`. */
  readonly directory: string
  readonly statement: Untrusted<Uint8Array>
  readonly update: Untrusted<Uint8Array>
  readonly parseConfiguration: (files: ReadonlyMap<string, Uint8Array>) => T
  readonly clock: Clock
}

export async function replaceStore<T>(options: ReplaceOptions<T>): Promise<Sealed<T>> {
  const { directory, statement, update, parseConfiguration, clock } = options
  const [beside, before] = [`${directory}.next`, `${directory}.unsealed`]
  // What a crash between the two renames left is where it was put.
  const isHere = await exists(directory)
  const place = sealedPlace(isHere ? directory : before)
  const pin = await readPin(place.pin)
  const installed = await readGeneration(place.store)
  verifyStore(installed, pin, await readFloor(place.floor), clock.now())
  const next = statement.parse(untrustedBytes => verifyUnsealing(untrustedBytes, installed, pin))
  if (isHere && (await exists(before)))
    throw new SealError('SEAL_EXISTS', `${before} is in the way: an earlier state that was unsealed`)
  await reportingIo(() => rm(beside, { recursive: true, force: true }))
  await reportingIo(() => makePrivateDirectory(beside))
  const fresh = sealedPlace(beside)
  await reportingIo(() => writeDurably(fresh.pin, encodePin(next), 0o644))
  const store = await FileSealedStore.install({ ...fresh, parseConfiguration, clock }, update)
  await reportingIo(async () => {
    if (isHere) await rename(directory, before)
    await rename(beside, directory)
    await syncDirectory(path.dirname(directory))
  })
  return store.current()
}

async function exists(directory: string): Promise<boolean> {
  try {
    await stat(directory)
    return true
  } catch (error) {
    ignoreMissing(error)
    return false
  }
}
