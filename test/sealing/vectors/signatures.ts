import { toBase64 } from '../../../src/base/bytes.ts'
import { signer, signers } from '../fixture.ts'
import { type Craft, craft, type Json, rolesOf, set, type } from './craft.ts'
import { write } from './write.ts'

export async function signatures(): Promise<void> {
  const stranger = signer('stranger')
  const crafted: readonly (readonly [string, string, string, Craft])[] = [
    [
      'wrong-key',
      'SEAL_KEY_UNKNOWN',
      'the role is signed by a key that the root does not know',
      { role: 'profiles', roleBy: [stranger] },
    ],
    [
      'other-roles-key',
      'SEAL_KEY_UNKNOWN',
      'profiles signed by the key of schedules: the admin reaches for the user',
      { role: 'profiles', roleBy: signers.schedules },
    ],
    [
      'stranger-beside',
      'SEAL_KEY_UNKNOWN',
      'a stranger signed beside enough holders',
      { role: 'hsm', roleBy: [...signers.hsm.slice(0, 2), stranger] },
    ],
    [
      'threshold-short',
      'SEAL_THRESHOLD',
      'hsm needs two of three keys, and one signed',
      { role: 'hsm', roleBy: signers.hsm.slice(0, 1) },
    ],
    [
      'threshold-short-root',
      'SEAL_THRESHOLD',
      'root needs two of three keys, and one signed',
      { rootBy: signers.root.slice(0, 1) },
    ],
    [
      'signed-twice',
      'SEAL_SIGNED_TWICE',
      'one holder of hsm signed twice',
      { role: 'hsm', roleBy: [signers.hsm[0], signers.hsm[0]] },
    ],
    [
      'wrong-type',
      'SEAL_TYPE_WRONG',
      'a role signed as if it were a snapshot',
      { role: 'profiles', roleType: type('snapshot') },
    ],
    [
      'key-two-ids',
      'SEAL_KEY_ID_WRONG',
      'one key of root is listed under a second id, to be counted twice',
      { root: keyUnderSecondId },
    ],
    [
      'key-shared',
      'SEAL_KEY_SHARED',
      "the admin's key for schedules may sign hsm too",
      { root: root => rolesOf(root).hsm?.keys.push(signers.schedules[0].keyId) },
    ],
    [
      'key-short',
      'SEAL_KEY_INVALID',
      'a key of 31 bytes',
      { root: root => setKey(root, toBase64(new Uint8Array(31))) },
    ],
    [
      'key-repeated',
      'SEAL_ROOT_INVALID',
      'a role lists one key id twice',
      { root: root => rolesOf(root).hsm?.keys.push(signers.hsm[0].keyId) },
    ],
    [
      'key-missing',
      'SEAL_ROOT_INVALID',
      'a role names a key that is not there',
      { root: root => rolesOf(root).hsm?.keys.push(stranger.keyId) },
    ],
    [
      'threshold-impossible',
      'SEAL_ROOT_INVALID',
      'a role needs more signatures than it has keys',
      { root: root => set(rolesOf(root).hsm, 'threshold', 4) },
    ],
    [
      'threshold-zero',
      'SEAL_PAYLOAD_INVALID',
      'a role that needs no signature',
      { root: root => set(rolesOf(root).hsm, 'threshold', 0) },
    ],
    [
      'split-by-one',
      'SEAL_ROOT_INVALID',
      'custody is split, and one key changes the root',
      { root: root => set(rolesOf(root).root, 'threshold', 1) },
    ],
    [
      'paths-overlap',
      'SEAL_ROOT_INVALID',
      'schedules may hold a file of hsm',
      { root: root => set(rolesOf(root).schedules, 'paths', ['hsm/work.json']) },
    ],
    [
      'paths-of-snapshot',
      'SEAL_ROOT_INVALID',
      'the role snapshot may hold files',
      { root: root => set(rolesOf(root).snapshot, 'paths', ['other/']) },
    ],
    [
      'path-everything',
      'SEAL_ROOT_INVALID',
      'a limit that is no folder',
      { root: root => set(rolesOf(root).schedules, 'paths', ['/']) },
    ],
    [
      'root-without-snapshot',
      'SEAL_ROOT_INVALID',
      'the root has no role snapshot',
      { root: root => void delete rolesOf(root).snapshot },
    ],
  ]
  for (const [name, expect, comment, change] of crafted)
    await write(name, { expect, comment, ...(await craft(change)) })
}

function setKey(root: Json, text: string): void {
  const keys = root.keys as Record<string, Json>
  set(keys[signers.hsm[0].keyId], 'public', text)
}

function keyUnderSecondId(root: Json): void {
  const keys = root.keys as Record<string, Json>
  const twin = 'f'.repeat(64)
  keys[twin] = { ...keys[signers.root[0].keyId] }
  set(rolesOf(root).root, 'keys', [signers.root[0].keyId, twin])
}
