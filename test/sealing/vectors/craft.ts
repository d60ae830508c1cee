import { fromUtf8, toBase64 } from '../../../src/base/bytes.ts'
import { sha256Hex } from '../../../src/crypto/digest.ts'
import { parseEnvelope } from '../../../src/sealing/envelope.ts'
import type { RootPin } from '../../../src/sealing/pin.ts'
import { encodeRoot } from '../../../src/sealing/root.ts'
import type { StoreFiles } from '../../../src/sealing/store-files.ts'
import { expires, firstFiles, rootContent, signers, signText, type TestSigner } from '../fixture.ts'

export const type = (name: string) => `application/vnd.strongroom.${name}+json`

export type Json = Record<string, unknown>
export interface Craft {
  readonly root?: (root: Json) => void
  readonly rootBy?: readonly TestSigner[]
  readonly role?: string
  readonly content?: (role: Json) => void
  readonly text?: (text: string) => string
  readonly roleType?: string
  readonly roleBy?: readonly TestSigner[]
  readonly snapshot?: (snapshot: Json) => void
  readonly snapshotText?: (text: string) => string
  readonly snapshotBy?: readonly TestSigner[]
}

/** A first version in which one thing is not as it should be, signed all the same. */
export async function craft(change: Craft): Promise<{ files: StoreFiles; pin: RootPin }> {
  const rootJson = JSON.parse(fromUtf8(encodeRoot({ ...rootContent(), version: 1, previous: null }))) as Json
  change.root?.(rootJson)
  const root = await signText(type('root'), JSON.stringify(rootJson), change.rootBy ?? signers.root)
  const roles = new Map<string, Uint8Array>()
  const named: Json = {}
  for (const [name, held] of Object.entries(signers)) {
    if (name === 'root' || name === 'snapshot') continue
    const bytes = await craftRole(name, held, change.role === name ? change : {})
    roles.set(name, bytes)
    named[name] = entryOf(bytes)
  }
  const snapshotJson: Json = {
    v: 1,
    type: 'snapshot',
    version: 1,
    previous: null,
    expires,
    root: entryOf(root),
    roles: named,
  }
  change.snapshot?.(snapshotJson)
  const text = JSON.stringify(snapshotJson)
  const snapshot = await signText(
    type('snapshot'),
    change.snapshotText?.(text) ?? text,
    change.snapshotBy ?? signers.snapshot,
  )
  return {
    files: { roots: new Map([[1, root]]), snapshot, roles },
    pin: { version: 1, digest: entryOf(root).digest },
  }
}

/** As a snapshot names what it holds. */
export function entryOf(bytes: Uint8Array) {
  const { payload } = parseEnvelope(bytes, 'file')
  return { version: 1, digest: sha256Hex(payload), bytes: payload.byteLength }
}

export async function craftRole(
  name: string,
  held: readonly TestSigner[],
  change: Craft,
): Promise<Uint8Array> {
  const folder = name === 'machine' ? 'roles.json' : `${name}/`
  const files = Object.fromEntries(
    [...firstFiles]
      .filter(([file]) => file.startsWith(folder))
      .map(([file, bytes]) => [file, toBase64(bytes)]),
  )
  const json: Json = { v: 1, type: 'role', role: name, version: 1, previous: null, expires, files }
  change.content?.(json)
  const text = JSON.stringify(json)
  return await signText(change.roleType ?? type('role'), change.text?.(text) ?? text, change.roleBy ?? held)
}

export type RoleJson = { keys: string[]; threshold: number; paths: string[] }
export const rolesOf = (root: Json) => root.roles as Record<string, RoleJson>
export const set = (object: object | undefined, key: string, value: unknown) =>
  Object.assign(object ?? {}, { [key]: value })
