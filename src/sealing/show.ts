import { existsSync } from 'node:fs'
import path from 'node:path'
import type { Clock } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import { makePrivateDirectory, writeDurably } from '../base/files.ts'
import type { Digest } from '../base/names.ts'
import { SealError } from './errors.ts'
import { readFloor } from './floor.ts'
import { readGeneration } from './generation.ts'
import { reportingIo } from './io.ts'
import { readPin } from './pin.ts'
import type { Custody } from './root.ts'
import { type SealedConfiguration, verifyStore } from './verify.ts'

/* `strongroom seal show` and `verify`: for every machine that holds a store, without code that could sign. */

/** What a command gives back: `result` for `--json`, `text` for people, one line each. */
export interface SealReport<R> {
  readonly result: R
  readonly text: readonly string[]
}

export interface SealPlace {
  /** The sealed store. */
  readonly store: string
  readonly pin: string
  /** `null` where none is kept. Never written here. */
  readonly floor: string | null
  readonly clock: Clock
}

export interface SealShowResult {
  readonly version: number
  readonly digest: Digest
  readonly custody: Custody
  readonly expires: string
  readonly expired: boolean
  readonly rootVersion: number
  readonly roles: readonly {
    readonly role: string
    readonly version: number
    readonly threshold: number
    readonly keys: readonly string[]
    readonly files: number
    readonly expires: string
  }[]
  readonly files: readonly { readonly path: string; readonly bytes: number }[]
}

/** `strongroom seal show`: what is sealed, after verifying it. `out`: where its files are written, as a draft. Throws `SEAL_EXISTS`. */
export async function showCommand(
  place: SealPlace & { readonly out?: string | undefined },
): Promise<SealReport<SealShowResult>> {
  const configuration = await verifyPlace(place)
  if (place.out !== undefined) await writeFiles(place.out, configuration.files)
  const result = shown(configuration)
  const roles = result.roles.map(
    role =>
      `role      ${role.role}: version ${role.version}, ${role.files} files, ${role.threshold} of ${role.keys.length} keys, expires ${role.expires}`,
  )
  const files = result.files.map(file => `file      ${file.path} (${file.bytes} bytes)`)
  const written = place.out === undefined ? [] : [`written   ${place.out}`]
  return { result, text: [...summary(result), ...roles, ...files, ...written] }
}

/** `strongroom seal verify`: throws what is wrong; an expired store verifies, and says so. */
export async function verifyCommand(place: SealPlace): Promise<SealReport<SealShowResult>> {
  const result = shown(await verifyPlace(place))
  return { result, text: [...summary(result), 'verified  every file, from the pin'] }
}

/** Everything from the pin to the last byte. */
export async function verifyPlace({ store, pin, floor, clock }: SealPlace): Promise<SealedConfiguration> {
  const remembered = floor === null ? null : await readFloor(floor)
  return verifyStore(await readGeneration(store), await readPin(pin), remembered, clock.now())
}

async function writeFiles(out: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  if (existsSync(out))
    throw new SealError('SEAL_EXISTS', `${printable(out)} exists; nothing is overwritten`, {
      hint: 'move it away first, or choose another directory',
    })
  await reportingIo(() => makePrivateDirectory(out))
  for (const [name, bytes] of files) {
    const file = path.join(out, name)
    await reportingIo(() => makePrivateDirectory(path.dirname(file)))
    await reportingIo(() => writeDurably(file, bytes))
  }
}

function shown(configuration: SealedConfiguration): SealShowResult {
  const { version, digest, custody, expires, expired, root, files } = configuration
  return {
    version,
    digest,
    custody,
    expires: expires.toISOString(),
    expired,
    rootVersion: root.version,
    roles: [...configuration.roles.values()].map(role => ({
      role: role.role,
      version: role.version,
      threshold: root.roles.get(role.role)?.threshold ?? 0,
      keys: root.roles.get(role.role)?.keys ?? [],
      files: role.files.size,
      expires: role.expires.toISOString(),
    })),
    files: [...files].map(([name, bytes]) => ({ path: name, bytes: bytes.byteLength })),
  }
}

function summary(result: SealShowResult): readonly string[] {
  const expiry = result.expired ? 'EXPIRED: in force, but sign it again' : 'expires'
  return [
    `version   ${result.version}`,
    `digest    ${result.digest}`,
    `custody   ${result.custody}, root version ${result.rootVersion}`,
    `expiry    ${expiry} ${result.expires}`,
  ]
}
