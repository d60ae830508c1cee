import { fromBase64, toBase64, utf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { fields, is } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { SealError } from './errors.ts'
import { keyTypes, type PublicKey, publicKey, shortId } from './keys.ts'
import { isPathLimit, limitsOverlap } from './paths.ts'
import { parsePayload, parseRoleName, requirePrevious, versionFields } from './payload.ts'

/*
 * The root says who may seal what: the keys, the roles with their thresholds, and the paths each role may hold
 * (TUF 1.0.33 section 4.3, without its canonical JSON). Root n + 1 is signed by the thresholds of n and of n + 1.
 */

export const rootPayloadType = 'application/vnd.strongroom.root+json'
const custodies = ['superadmin', 'split', 'discarded'] as const
/** Who holds the sealing keys. */
export type Custody = (typeof custodies)[number]

const keysMax = 64
const rolesMax = 16
const limitsMax = 16
/** Each must exist, and holds no files. */
const requiredRoles = ['root', 'snapshot'] as const
/** Its keys take a machine out of the sealed state, and do nothing else. Leaving it out locks the owner out. */
export const ownerRole = 'owner'
const structuralRoles: readonly string[] = [...requiredRoles, ownerRole]
/** Whoever sets the times must not be able to say where a passphrase comes from; the root's keys can stay offline. */
const rolesApart = ['root', 'schedules', ownerRole]

export interface RootRole {
  readonly keys: readonly Digest[]
  readonly threshold: number
  /** Folders and files, see `paths.ts`. */
  readonly paths: readonly string[]
}

export interface Root {
  readonly version: number
  readonly previous: Digest | null
  readonly expires: Date
  readonly custody: Custody
  readonly keys: ReadonlyMap<Digest, PublicKey>
  readonly roles: ReadonlyMap<string, RootRole>
}

const shape = fields('root', {
  v: is.literal(1),
  type: is.literal('root'),
  ...versionFields,
  custody: is.literal(...custodies),
  keys: is.record(
    fields('key', { type: is.literal(...keyTypes), public: is.name(fromBase64) }),
    parseDigest,
    keysMax,
  ),
  roles: is.record(
    fields('role', {
      keys: is.array(is.name(parseDigest), keysMax),
      threshold: is.integer(1, keysMax),
      paths: is.array(is.string(200), limitsMax),
    }),
    parseRoleName,
    rolesMax,
  ),
})

/** `payload` has been verified, or its envelope's digest is pinned. Throws a `SealError`. */
export function parseRoot(payload: Uint8Array, what: string): Root {
  const { version, previous, expires, custody, ...parsed } = parsePayload(payload, what, shape)
  requirePrevious(version, previous, what)
  const keys = new Map<Digest, PublicKey>()
  for (const [id, { type, public: bytes }] of Object.entries(parsed.keys)) {
    const key = publicKey(type, bytes)
    if (key.id !== id)
      throw new SealError(
        'SEAL_KEY_ID_WRONG',
        `${what}: key ${shortId(key.id)}… is listed under the id ${shortId(id)}…`,
      )
    keys.set(key.id, key)
  }
  const root: Root = {
    version,
    previous,
    expires,
    custody,
    keys,
    roles: new Map(Object.entries(parsed.roles)),
  }
  requireConsistent(root, what)
  return root
}

/** The payload to sign; what `parseRoot` refuses cannot be encoded. */
export function encodeRoot(root: Root): Uint8Array {
  const { version, previous, expires, custody } = root
  const keys = Object.fromEntries(
    [...root.keys].map(([id, key]) => [id, { type: key.type, public: toBase64(key.bytes) }]),
  )
  const roles = Object.fromEntries(root.roles)
  const payload = utf8(
    JSON.stringify({ v: 1, type: 'root', version, previous, expires, custody, keys, roles }),
  )
  parseRoot(payload, 'root')
  return payload
}

export function keysOfRole(root: Root, role: string): readonly PublicKey[] {
  const keys = root.roles.get(role)?.keys ?? []
  return keys.flatMap(id => root.keys.get(id) ?? [])
}

/** A role that is not in the root needs more signatures than there can be. */
export function thresholdOfRole(root: Root, role: string): number {
  return root.roles.get(role)?.threshold ?? Number.POSITIVE_INFINITY
}

/** The roles that hold files. */
export function contentRoles({ roles }: Pick<Root, 'roles'>): readonly string[] {
  return [...roles.keys()].filter(name => !isStructural(name)).sort()
}

/** The keys of all roles that hold files, each once. Whoever may seal something may publish it. */
export function publisherKeys(roles: Root['roles']): ReadonlySet<Digest> {
  return new Set(contentRoles({ roles }).flatMap(name => roles.get(name)?.keys ?? []))
}

/** The snapshot's role. A snapshot only names what was sealed, and nobody can name what was not. */
export function publishers(roles: Root['roles']): RootRole {
  return { keys: [...publisherKeys(roles)], threshold: 1, paths: [] }
}

function isStructural(name: string): boolean {
  return structuralRoles.includes(name)
}

function requireConsistent(root: Root, what: string): void {
  const invalid = (found: string) => new SealError('SEAL_ROOT_INVALID', `${what}: ${found}`)
  for (const name of requiredRoles) if (!root.roles.has(name)) throw invalid(`no role '${name}'`)
  const limits: { readonly role: string; readonly limit: string }[] = []
  for (const [name, role] of root.roles) {
    if (new Set(role.keys).size !== role.keys.length) throw invalid(`role '${name}' lists a key twice`)
    for (const id of role.keys) if (!root.keys.has(id)) throw invalid(`role '${name}' names an unknown key`)
    if (role.threshold > role.keys.length)
      throw invalid(`role '${name}' needs ${role.threshold} signatures and has ${role.keys.length} keys`)
    if (isStructural(name) && role.paths.length > 0) throw invalid(`role '${name}' may hold no files`)
    for (const limit of role.paths) {
      if (!isPathLimit(limit))
        throw invalid(`'${printable(limit)}' of role '${name}' is no folder and no file`)
      const other = limits.find(one => limitsOverlap(one.limit, limit))
      if (other !== undefined)
        throw invalid(`'${limit}' belongs to role '${other.role}' and to role '${name}'`)
      limits.push({ role: name, limit })
    }
  }
  if (root.custody === 'split' && thresholdOfRole(root, 'root') < 2)
    throw invalid('custody is split, but one key is enough to change the root')
  requireKeysApart(root, what)
}

function requireKeysApart(root: Root, what: string): void {
  // A snapshot only names what others have signed: whoever seals a role may publish it, except with a key of the root.
  for (const name of rolesApart)
    for (const id of root.roles.get(name)?.keys ?? [])
      for (const [other, role] of root.roles)
        if (other !== name && role.keys.includes(id) && !(name === 'schedules' && other === 'snapshot'))
          throw new SealError(
            'SEAL_KEY_SHARED',
            `${what}: key ${shortId(id)}… is in '${name}' and in '${other}'`,
          )
}
