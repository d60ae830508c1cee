import type { Digest } from '../base/names.ts'
import { SealError } from './errors.ts'
import { type PublicKey, shortId } from './keys.ts'
import { type Custody, publisherKeys, type Root, type RootRole } from './root.ts'
import type { RootContent } from './root-candidate.ts'

/* The next root, from the present one and what is to be different. Pure. */

export interface RootChange {
  readonly add: readonly { readonly role: string; readonly key: PublicKey }[]
  /** Of one role, or of every role that has it. The first digits of the key's id are enough. */
  readonly remove: readonly { readonly role: string | 'every'; readonly id: string }[]
  readonly thresholds: ReadonlyMap<string, number>
  readonly custody: Custody | null
  readonly expires: Date
}

const idLengthMin = 8
const publishing = 'snapshot'

/** What it makes may still contradict itself: encoding it throws `SEAL_ROOT_INVALID`. Throws `SEAL_KEY_NOT_HELD`. */
export function changeRoot(root: Root, change: RootChange): RootContent {
  const roles = new Map<string, RootRole>(root.roles)
  const update = (name: string, next: (role: RootRole) => RootRole) => {
    const role = roles.get(name)
    if (role === undefined) throw new SealError('SEAL_ROOT_INVALID', `there is no role '${name}'`)
    roles.set(name, next(role))
  }
  for (const { role, id } of change.remove) {
    const key = heldKey(root, role, id)
    for (const name of role === 'every' ? roles.keys() : [role])
      update(name, one => ({ ...one, keys: one.keys.filter(held => held !== key) }))
  }
  const add = (role: string, key: Digest) =>
    update(role, one => ({ ...one, keys: [...one.keys.filter(held => held !== key), key] }))
  for (const { role, key } of change.add) if (role !== publishing) add(role, key.id)
  // Whoever may seal something may publish it; whoever may no longer, may not.
  const [before, after] = [publisherKeys(root.roles), publisherKeys(roles)]
  update(publishing, one => ({
    ...one,
    keys: one.keys.filter(key => after.has(key) || !before.has(key)),
  }))
  for (const key of after) if (!before.has(key)) add(publishing, key)
  for (const { role, key } of change.add) if (role === publishing) add(role, key.id)
  for (const [role, threshold] of change.thresholds) update(role, one => ({ ...one, threshold }))
  const keys = new Map([...root.keys, ...change.add.map(({ key }) => [key.id, key] as const)])
  return {
    custody: change.custody ?? root.custody,
    expires: change.expires,
    keys: new Map([...keys].filter(([id]) => [...roles.values()].some(role => role.keys.includes(id)))),
    roles,
  }
}

/** The roles that a key is in. Throws `SEAL_KEY_NOT_HELD`. */
export function rolesOfKey(root: Root, id: string): readonly string[] {
  const key = heldKey(root, 'every', id)
  return [...root.roles].filter(([, { keys }]) => keys.includes(key)).map(([name]) => name)
}

function heldKey(root: Root, role: string | 'every', id: string): Digest {
  const held = [...root.roles]
    .filter(([name]) => role === 'every' || name === role)
    .flatMap(([, { keys }]) => keys)
  const found = [...new Set(held)].filter(key => key.startsWith(id))
  const [key] = found
  if (key !== undefined && found.length === 1 && id.length >= idLengthMin) return key
  throw new SealError(
    'SEAL_KEY_NOT_HELD',
    found.length > 1 || id.length < idLengthMin
      ? `'${shortId(id)}' names no key for certain; give at least ${idLengthMin} digits of its id`
      : `no key '${shortId(id)}' in ${role === 'every' ? 'any role' : `role '${role}'`}`,
  )
}
