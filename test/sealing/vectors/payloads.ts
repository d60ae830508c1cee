import { signers } from '../fixture.ts'
import { type Craft, craft, type Json, set } from './craft.ts'
import { write } from './write.ts'

export async function payloads(): Promise<void> {
  const files = (role: Json) => role.files as Record<string, string>
  const crafted: readonly (readonly [string, string, string, Craft])[] = [
    [
      'path-outside-role',
      'SEAL_PATH_REFUSED',
      'profiles holds a file of hsm',
      { role: 'profiles', content: role => set(files(role), 'hsm/work.json', 'e30=') },
    ],
    [
      'path-dot-dot',
      'SEAL_PATH_REFUSED',
      'a path that climbs',
      { role: 'profiles', content: role => set(files(role), 'profiles/../hsm/work.json', 'e30=') },
    ],
    [
      'path-absolute',
      'SEAL_PATH_REFUSED',
      'an absolute path',
      { role: 'profiles', content: role => set(files(role), '/profiles/work.conf', 'e30=') },
    ],
    [
      'path-empty-name',
      'SEAL_PATH_REFUSED',
      'the folder itself',
      { role: 'profiles', content: role => set(files(role), 'profiles/', 'e30=') },
    ],
    [
      'payload-duplicate-key',
      'SEAL_PAYLOAD_INVALID',
      'two expiries, of which JSON.parse keeps the last',
      { role: 'profiles', text: text => text.replace('"v":1', '"v":1,"expires":"9999-12-31T00:00:00Z"') },
    ],
    [
      'payload-duplicate-file',
      'SEAL_PAYLOAD_INVALID',
      'one file twice',
      { role: 'profiles', text: text => text.replace('"files":{', '"files":{"profiles/work.conf":"e30=",') },
    ],
    [
      'payload-unknown-field',
      'SEAL_PAYLOAD_INVALID',
      'a field of a later version',
      { role: 'profiles', content: role => set(role, 'note', 'x') },
    ],
    [
      'payload-missing-field',
      'SEAL_PAYLOAD_INVALID',
      'no expiry',
      { role: 'profiles', content: role => void delete role.expires },
    ],
    [
      'payload-other-role',
      'SEAL_PAYLOAD_INVALID',
      'signed by the key of profiles, but says it is policy',
      { role: 'profiles', content: role => set(role, 'role', 'policy') },
    ],
    [
      'payload-version-zero',
      'SEAL_PAYLOAD_INVALID',
      'version 0',
      { role: 'profiles', content: role => set(role, 'version', 0) },
    ],
    [
      'payload-version-unsafe',
      'SEAL_PAYLOAD_INVALID',
      'a version that does not fit a double',
      { role: 'profiles', text: text => text.replace('"version":1', '"version":9007199254740993') },
    ],
    [
      'payload-previous-missing',
      'SEAL_PAYLOAD_INVALID',
      'version 2 that names no version before it',
      { role: 'profiles', content: role => set(role, 'version', 2) },
    ],
    [
      'payload-trailing',
      'SEAL_PAYLOAD_INVALID',
      'bytes after the end of the JSON',
      { role: 'profiles', text: text => `${text} {}` },
    ],
    [
      'payload-deep',
      'SEAL_PAYLOAD_INVALID',
      'lists within lists, a thousand deep',
      { role: 'profiles', text: text => text.replace('"v":1', `"v":${'['.repeat(1000)}${']'.repeat(1000)}`) },
    ],
    [
      'payload-base64',
      'SEAL_PAYLOAD_INVALID',
      'base64 with bits that nobody reads',
      { role: 'profiles', content: role => set(files(role), 'profiles/work.conf', 'e31=') },
    ],
    [
      'snapshot-role-missing',
      'SEAL_MIXED',
      'the snapshot leaves out hsm',
      { snapshot: snapshot => void delete (snapshot.roles as Json).hsm },
    ],
    [
      'snapshot-other-root',
      'SEAL_MIXED',
      'the snapshot was made under another root',
      { snapshot: snapshot => set(snapshot.root as Json, 'digest', '0'.repeat(64)) },
    ],
    [
      'snapshot-duplicate-key',
      'SEAL_PAYLOAD_INVALID',
      'two versions in the snapshot',
      { snapshotText: text => text.replace('"v":1', '"v":1,"version":9') },
    ],
    [
      'snapshot-by-role-key',
      'SEAL_KEY_UNKNOWN',
      'the snapshot signed by the key of schedules',
      { snapshotBy: signers.schedules },
    ],
    [
      'root-impossible-date',
      'SEAL_PAYLOAD_INVALID',
      'an expiry that is no date',
      { root: root => set(root, 'expires', '2026-13-45T00:00:00Z') },
    ],
    ['ok-crafted', 'ok', 'made as the faulty ones are, without a fault', {}],
  ]
  for (const [name, expect, comment, change] of crafted)
    await write(name, { expect, comment, ...(await craft(change)) })
}
