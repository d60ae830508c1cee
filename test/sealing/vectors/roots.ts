import { fromUtf8 } from '../../../src/base/bytes.ts'
import { verifyRoots } from '../../../src/sealing/chain.ts'
import { encodeRoot } from '../../../src/sealing/root.ts'
import { changedFiles } from '../../../src/sealing/update.ts'
import {
  emptyStore,
  everySigner,
  firstFiles,
  firstRoot,
  next,
  rootContent,
  signer,
  signers,
  signText,
  type TestSigner,
} from '../fixture.ts'
import { type } from './craft.ts'
import { write } from './write.ts'

export async function roots(): Promise<void> {
  const { root, pin } = await firstRoot()
  const first = await next(emptyStore(root), pin, firstFiles)
  const present = verifyRoots(first.files.roots, pin)
  const swapped = signer('root-4')
  const held = [signers.root[0], signers.root[1], swapped]
  const base = rootContent()
  const content = {
    ...base,
    keys: new Map([...base.keys, [swapped.publicKey.id, swapped.publicKey] as const]),
    roles: new Map([
      ...base.roles,
      ['root', { keys: held.map(one => one.publicKey.id), threshold: 2, paths: [] }] as const,
    ]),
  }
  const sealed = await next(first.files, pin, firstFiles, {
    nextRoot: content,
    with: [...everySigner, swapped],
  })
  const good = sealed.files.roots.get(2) ?? new Uint8Array()
  await write('ok-root-rotated', {
    expect: 'ok',
    comment: 'one of three holders of the root was replaced',
    pin,
    files: sealed.files,
  })
  await write('ok-update-root', {
    expect: 'ok',
    comment: 'the update that replaces a holder',
    pin,
    files: first.files,
    update: changedFiles(first.files, sealed.files),
  })
  const fewer = new Map([...base.roles].filter(([name]) => name !== 'schedules'))
  const withFewer = { ...base, roles: fewer }
  const dropped = await next(first.files, pin, firstFiles, { nextRoot: withFewer })
  await write('ok-update-role-dropped', {
    expect: 'ok',
    comment: 'the update whose root has no role schedules any more',
    pin,
    files: first.files,
    update: changedFiles(first.files, dropped.files),
  })
  const text = fromUtf8(encodeRoot({ ...content, version: 2, previous: present.digest }))
  const faults: readonly (readonly [string, string, string, string, readonly TestSigner[]])[] = [
    [
      'chain-one-old',
      'SEAL_THRESHOLD',
      'root 2 is signed by one old and one new holder',
      text,
      [signers.root[0], swapped],
    ],
    [
      'chain-stranger',
      'SEAL_KEY_UNKNOWN',
      'somebody else signed root 2 as well',
      text,
      [...held, signer('stranger')],
    ],
    [
      'chain-gap',
      'SEAL_ROOT_CHAIN',
      'root 2 says that it is version 3',
      text.replace('"version":2', '"version":3'),
      held,
    ],
    [
      'chain-other-previous',
      'SEAL_ROOT_CHAIN',
      'root 2 follows another root 1',
      text.replace(present.digest, '0'.repeat(64)),
      held,
    ],
  ]
  for (const [name, expect, comment, faulty, by] of faults)
    await write(name, {
      expect,
      comment,
      pin,
      files: {
        ...sealed.files,
        roots: new Map([
          [1, root],
          [2, await signText(type('root'), faulty, by)],
        ]),
      },
    })
  await write('chain-missing', {
    expect: 'SEAL_ROOT_CHAIN',
    comment: 'root 3 is there, root 2 is not',
    pin,
    files: {
      ...sealed.files,
      roots: new Map([
        [1, root],
        [3, good],
      ]),
    },
  })
  await write('chain-pinned-missing', {
    expect: 'SEAL_ROOT_UNPINNED',
    comment: 'only root 2 is there',
    pin,
    files: { ...sealed.files, roots: new Map([[2, good]]) },
  })
  await write('mixed-root', {
    expect: 'SEAL_MIXED',
    comment: 'root 2 beside the snapshot made under root 1',
    pin,
    files: {
      ...first.files,
      roots: new Map([
        [1, root],
        [2, good],
      ]),
    },
  })
}
