import type { Digest } from '../base/names.ts'
import { SealError } from './errors.ts'

/** The envelopes of one version of the store, as stored. */
export interface StoreFiles {
  /** By version: the pinned root and all that followed. */
  readonly roots: ReadonlyMap<number, Uint8Array>
  /** `null` between the first root and the first seal. */
  readonly snapshot: Uint8Array | null
  readonly roles: ReadonlyMap<string, Uint8Array>
}

/** Of a store: all roots since the pinned one among them. */
export const storeFilesMax = 1000
export const snapshotFile = 'snapshot.json'
export const rolesDirectory = 'roles'

export function rootFile(version: number): string {
  return `${version}.root.json`
}

export function roleFile(role: string): string {
  return `${rolesDirectory}/${role}.json`
}

/** What a name of the store stands for; the inverse of the three above. */
export type StoreFileName =
  | { readonly kind: 'root'; readonly version: number }
  | { readonly kind: 'snapshot' }
  | { readonly kind: 'role'; readonly role: string }

export function parseStoreFileName(untrustedName: string): StoreFileName | null {
  if (untrustedName === snapshotFile) return { kind: 'snapshot' }
  const version = /^([1-9]\d{0,5})\.root\.json$/.exec(untrustedName)?.[1]
  if (version !== undefined) return { kind: 'root', version: Number(version) }
  const role = /^roles\/([a-z][a-z0-9-]{0,31})\.json$/.exec(untrustedName)?.[1]
  return role === undefined ? null : { kind: 'role', role }
}

/** Names and envelopes, roots first and roles last, in a fixed order. */
export function namedFiles(files: StoreFiles): readonly (readonly [string, Uint8Array])[] {
  const roots = [...files.roots].sort(([one], [other]) => one - other)
  const roles = [...files.roles].sort(([one], [other]) => (one < other ? -1 : 1))
  return [
    ...roots.map(([version, bytes]) => [rootFile(version), bytes] as const),
    ...(files.snapshot === null ? [] : [[snapshotFile, files.snapshot] as const]),
    ...roles.map(([role, bytes]) => [roleFile(role), bytes] as const),
  ]
}

/** The inverse of `namedFiles`. Throws `SEAL_FILE_UNEXPECTED` for an unknown name. */
export function storeFiles(named: Iterable<readonly [string, Uint8Array]>): StoreFiles {
  const roots = new Map<number, Uint8Array>()
  const roles = new Map<string, Uint8Array>()
  let snapshot: Uint8Array | null = null
  for (const [untrustedName, bytes] of named) {
    const name = parseStoreFileName(untrustedName)
    if (name === null) throw new SealError('SEAL_FILE_UNEXPECTED', 'a file of an unknown name in the store')
    if (name.kind === 'snapshot') snapshot = bytes
    else if (name.kind === 'root') roots.set(name.version, bytes)
    else roles.set(name.role, bytes)
  }
  return { roots, snapshot, roles }
}

/** Where a remembered digest and a version are shown together. */
export function versionAndDigest(version: number, digest: Digest): string {
  return `version ${version} (${digest.slice(0, 16)}…)`
}
