import { fromBase64, KiB, view } from '../base/bytes.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { dom0, parseVmName, type VmName } from '../base/names.ts'
import { ProfileError } from './errors.ts'

const rolesBytesMax = 64 * KiB
const vmsMax = 64
/** RFC 8410: SubjectPublicKeyInfo of Ed25519 up to the 32 bytes of the key. */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')
const publicKeyLength = 32

/** Which VMs have which duty on this machine, and the public keys by which they sign. */
export interface Roles {
  readonly hsm: readonly VmName[]
  readonly management: readonly VmName[]
  readonly storage: readonly VmName[]
  /** Raw Ed25519 public keys: dom0 signs the ledger; the HSM VM witnesses it, and the management VM may. */
  readonly keys: {
    readonly dom0: Uint8Array
    readonly hsm: Uint8Array
    readonly management: Uint8Array | null
  }
}

const vms = is.array(is.name(parseVmName), vmsMax)
const publicKey = is.name(parsePublicKey)
const shape = fields('roles', {
  hsm: vms,
  management: vms,
  storage: vms,
  keys: fields('keys', { dom0: publicKey, hsm: publicKey, management: is.optional(publicKey) }),
})

/** `roles.json`. A VM has one role only: what the design keeps apart must not meet in one VM. Throws a `CodedError`. */
export function parseRoles(untrustedBytes: Uint8Array): Roles {
  const { hsm, management, storage, keys } = shape(parseJson(untrustedBytes, { bytesMax: rolesBytesMax }))
  const roleOf = new Map<VmName, string>([[dom0, 'dom0']])
  for (const [role, members] of Object.entries({ hsm, management, storage })) {
    if (members.length === 0) throw new ProfileError('CONFIGURATION_ROLE', `roles: '${role}' names no VM`)
    for (const vm of members) {
      const other = roleOf.get(vm)
      if (other !== undefined)
        throw new ProfileError(
          'CONFIGURATION_ROLE',
          `roles: '${vm}' is named for '${role}' but already is '${other}'`,
        )
      roleOf.set(vm, role)
    }
  }
  const named = [keys.dom0, keys.hsm, ...(keys.management === undefined ? [] : [keys.management])]
  if (new Set(named.map(key => view(key).toString('hex'))).size < named.length)
    throw new ProfileError('CONFIGURATION_ROLE', 'roles: two of the keys are the same')
  return { hsm, management, storage, keys: { ...keys, management: keys.management ?? null } }
}

/** Base64 of a raw Ed25519 public key or of its SubjectPublicKeyInfo. */
export function parsePublicKey(untrustedText: string): Uint8Array {
  const bytes = fromBase64(untrustedText)
  if (bytes.byteLength === publicKeyLength) return bytes
  if (
    bytes.byteLength === spkiPrefix.byteLength + publicKeyLength &&
    view(bytes).subarray(0, spkiPrefix.byteLength).equals(spkiPrefix)
  )
    return bytes.slice(spkiPrefix.byteLength)
  throw new ProfileError(
    'CONFIGURATION_FILE_INVALID',
    `expected an Ed25519 public key in base64; found ${bytes.byteLength} other bytes`,
  )
}
