import { sha256Hex } from '../../../src/crypto/digest.ts'
import type { StoreFiles } from '../../../src/sealing/store-files.ts'
import { floorOf } from '../../../src/sealing/verify.ts'
import { emptyStore, firstFiles, next, twoVersions } from '../fixture.ts'
import { replaced } from './edit.ts'
import { write } from './write.ts'

export async function versions(): Promise<void> {
  const { pin, first, second } = await twoVersions()
  const { files, configuration } = second
  await write('ok-second-version', {
    expect: 'ok',
    comment: 'nothing is wrong',
    pin,
    files,
    floor: floorOf(configuration),
  })
  await write('ok-expired', {
    expect: 'ok',
    comment: 'an expired store stays in force',
    pin,
    files,
    now: new Date('2031-01-01T00:00:00Z'),
  })
  await write('rollback', {
    expect: 'SEAL_ROLLBACK',
    comment: 'version 1 on disk, version 2 was in force before',
    pin,
    files: first.files,
    floor: floorOf(configuration),
  })
  await write('rollback-root', {
    expect: 'SEAL_ROLLBACK',
    comment: 'a newer snapshot, but an older root than was in force before',
    pin,
    files,
    floor: { ...floorOf(first.configuration), rootVersion: 2 },
  })
  const twin = await next(first.files, pin, firstFiles, { renew: true })
  await write('forked', {
    expect: 'SEAL_FORKED',
    comment: 'version 2 on disk has another digest than the version 2 that was in force before',
    pin,
    files: twin.files,
    floor: floorOf(configuration),
  })
  const profiles = (store: StoreFiles) => store.roles.get('profiles') ?? new Uint8Array()
  await write('mixed-older-role', {
    expect: 'SEAL_MIXED',
    comment: 'roles/profiles.json of version 1 beside the snapshot of version 2',
    pin,
    files: replaced(files, 'roles/profiles.json', () => profiles(first.files)),
  })
  await write('mixed-newer-role', {
    expect: 'SEAL_MIXED',
    comment: 'roles/profiles.json of version 2 beside the snapshot of version 1',
    pin,
    files: replaced(first.files, 'roles/profiles.json', () => profiles(files)),
  })
  const roles = new Map(files.roles)
  roles.delete('hsm')
  await write('role-missing', {
    expect: 'SEAL_FILE_MISSING',
    comment: 'roles/hsm.json is not there',
    pin,
    files: { ...files, roles },
  })
  await write('role-swapped', {
    expect: 'SEAL_KEY_UNKNOWN',
    comment: 'roles/profiles.json holds the envelope of the role policy',
    pin,
    files: replaced(files, 'roles/profiles.json', () => files.roles.get('policy') ?? new Uint8Array()),
  })
  await write('role-unexpected', {
    expect: 'SEAL_FILE_UNEXPECTED',
    comment: 'a file for a role that the root does not have',
    pin,
    files: { ...files, roles: new Map([...files.roles, ['extra', profiles(files)]]) },
  })
  await write('root-unpinned', {
    expect: 'SEAL_ROOT_UNPINNED',
    comment: 'a store in perfect order, of another root',
    pin: { version: 1, digest: sha256Hex(new Uint8Array()) },
    files,
  })
  await write('empty', {
    expect: 'SEAL_EMPTY',
    comment: 'a root and nothing else',
    pin,
    files: emptyStore(files.roots.get(1) ?? new Uint8Array()),
  })
}
