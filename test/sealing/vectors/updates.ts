import type { StoreFiles } from '../../../src/sealing/store-files.ts'
import { changedFiles } from '../../../src/sealing/update.ts'
import { firstFiles, next, secondFiles, twoVersions } from '../fixture.ts'
import { craft, set } from './craft.ts'
import { write } from './write.ts'

export async function updates(): Promise<void> {
  const { pin, first, second } = await twoVersions()
  const third = await next(second.files, pin, firstFiles)
  const twin = await next(
    first.files,
    pin,
    new Map([...secondFiles, ['hsm/mail.json', new Uint8Array([123, 125])] as const]),
  )
  const afterTwin = await next(twin.files, pin, firstFiles)
  const from = (installed: StoreFiles, to: StoreFiles) => changedFiles(installed, to)
  const one = first.files
  const two = second.files
  const other = await craft({ root: root => set(root, 'custody', 'superadmin') })
  const faults: readonly (readonly [string, string, string, StoreFiles, StoreFiles, Date?])[] = [
    ['ok-update', 'ok', 'version 2 after version 1', one, from(one, two)],
    ['ok-update-whole', 'ok', 'version 2 after version 1, with all its files', one, two],
    ['update-skipped', 'SEAL_SKIPPED', 'version 3 after version 1', one, third.files],
    ['update-older', 'SEAL_ROLLBACK', 'version 1 after version 2', two, one],
    ['update-again', 'SEAL_INSTALLED', 'version 2 once more', two, two],
    ['update-forked', 'SEAL_FORKED', 'another version 2', two, twin.files],
    [
      'update-other-previous',
      'SEAL_PREVIOUS_WRONG',
      'version 3 that follows another version 2',
      two,
      afterTwin.files,
    ],
    [
      'update-without-role',
      'SEAL_MIXED',
      'the snapshot of version 2 without the role it brings',
      one,
      { ...from(one, two), roles: new Map() },
    ],
    [
      'update-without-snapshot',
      'SEAL_MIXED',
      'the role of version 2 without its snapshot',
      one,
      { ...from(one, two), snapshot: null },
    ],
    [
      'update-other-root',
      'SEAL_FORKED',
      'an update that replaces the first root',
      one,
      { ...from(one, two), roots: other.files.roots },
    ],
    [
      'update-expired',
      'SEAL_EXPIRED',
      'version 2 after its expiry',
      one,
      from(one, two),
      new Date('2027-11-24T00:00:00Z'),
    ],
    [
      'ok-update-last-moment',
      'ok',
      'version 2 one second before its expiry',
      one,
      from(one, two),
      new Date('2027-11-23T23:59:59Z'),
    ],
  ]
  for (const [name, expect, comment, files, update, at] of faults)
    await write(name, { expect, comment, pin, files, update, ...(at ? { now: at } : {}) })
  const late = await next(first.files, pin, firstFiles, {
    renew: true,
    expires: new Date('2029-11-24T00:00:00Z'),
  })
  await write('update-root-expired', {
    expect: 'SEAL_EXPIRED',
    comment: 'everything was renewed but the root',
    pin,
    files: one,
    update: from(one, late.files),
    now: new Date('2028-01-01T00:00:00Z'),
  })
}
