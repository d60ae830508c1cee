import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmod,
  link,
  lstat,
  mkdir,
  readdir,
  readFile,
  readlink,
  rm,
  symlink,
  utimes,
  writeFile,
} from 'node:fs/promises'
import { createServer } from 'node:net'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { parseDigest } from '../../src/base/names.ts'
import { Secret } from '../../src/base/secret.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { initCommand } from '../../src/sealing/ceremony/init.ts'
import { signCommand } from '../../src/sealing/ceremony/sign.ts'
import { makeErofs } from '../../src/sealing/erofs.ts'
import { makeImage } from '../../src/sealing/image.ts'
import {
  type ImageCommandOptions,
  imageCommand,
  verifyImageCommand,
} from '../../src/sealing/image-commands.ts'
import { imageFiles } from '../../src/sealing/image-files.ts'
import { readCertificate } from '../../src/sealing/image-signer.ts'
import { directoryEntries, memoryEntries } from '../../src/sealing/image-source.ts'
import { sealWorkspace } from '../../src/sealing/workspace.ts'
import { codeOf } from '../support/code-of.ts'
import { clock, expires, seeded, signal, temporaryDirectory } from './fixture.ts'

/* Needs erofs-utils, cryptsetup-bin and openssl. */

const veritysetup = '/sbin/veritysetup'
const progress = () => {}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let at: (name: string) => string
beforeEach(async () => {
  directory = await temporaryDirectory()
  at = directory.at
  await mkdir(at('source'))
})
afterEach(() => directory[Symbol.asyncDispose]())

const openssl = (...given: string[]) =>
  execFileSync('openssl', given, { cwd: path.dirname(at('x')), stdio: 'pipe' })

function makeKey(name: string, ...more: string[]): void {
  const options = more.length > 0 ? more : ['-nodes', '-newkey', 'rsa:2048']
  const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`]
  openssl('req', '-x509', '-subj', `/CN=${name}`, ...options, ...files)
}

const content: Readonly<Record<string, string>> = {
  'README.md': 'read me\n',
  'policy/30.policy': 'a '.repeat(5000),
  'policy/include/admin': '',
  'policy.txt': 'sorts between folder and file\n',
  'templates/large': 'x'.repeat(700_000),
}

async function write(root: string, names: readonly string[], mode = 0o644): Promise<void> {
  for (const name of names) {
    await mkdir(path.join(root, path.dirname(name)), { recursive: true })
    await writeFile(path.join(root, name), content[name] ?? name)
    await chmod(path.join(root, name), mode)
  }
}

async function make(changes: Partial<ImageCommandOptions> = {}) {
  const options = {
    source: at('source'),
    out: at('image'),
    signing: null,
    passphrase: () => Promise.reject(new Error('asked')),
    progress,
    ...changes,
  }
  return (await imageCommand(options, signal)).result
}

async function flip(file: string, place: number): Promise<void> {
  const bytes = await readFile(file)
  bytes[place] = (bytes[place] ?? 0) ^ 1
  await writeFile(file, bytes)
}

const leftovers = async () => (await readdir(at('.'))).filter(name => name.includes('.new-'))

describe('an image', () => {
  test('holds what the source holds', async () => {
    await write(at('source'), Object.keys(content))
    await chmod(at('source/policy/30.policy'), 0o4750)
    await mkdir(at('source/empty'))
    await symlink('../README.md', at('source/policy/up'))
    await make()
    execFileSync('fsck.erofs', [`--extract=${at('extracted')}`, at('image/image.raw')], { stdio: 'pipe' })
    const found = (await readdir(at('extracted'), { recursive: true })).sort()
    expect(found).toEqual((await readdir(at('source'), { recursive: true })).sort())
    for (const [name, text] of Object.entries(content)) {
      expect(await readFile(at(`extracted/${name}`), 'utf8')).toBe(text)
      const { mode, uid, mtimeMs } = await lstat(at(`extracted/${name}`))
      expect([mode & 0o7777, uid, mtimeMs]).toEqual([name === 'policy/30.policy' ? 0o755 : 0o644, 0, 0])
    }
    expect(await readlink(at('extracted/policy/up'))).toBe('../README.md')
    expect((await lstat(at('extracted/policy'))).mode & 0o7777).toBe(0o755)
  })

  test('is the same whatever the order, times, owners, links and permissions of the source', async () => {
    const names = Object.keys(content)
    await write(at('source'), names)
    await symlink('policy', at('source/also'))
    const first = await make()
    await mkdir(at('other'), { mode: 0o700 })
    await symlink('policy', at('other/also'))
    await write(at('other'), names.toReversed(), 0o600)
    await chmod(at('other/policy'), 0o700)
    // Another order of the directory, too: what is made between and removed leaves its place to the next.
    await write(at('other'), ['policy/x', 'y'])
    await link(at('other/README.md'), at('again'))
    await rm(at('other/policy/x'))
    await rm(at('other/y'))
    await utimes(at('other/README.md'), 1, 2)
    await utimes(at('other/policy'), 3, 4)
    const second = await make({ source: at('other'), out: at('image-2') })
    expect(second.rootHash).toBe(first.rootHash)
    for (const name of ['image.raw', 'image.verity', 'image.json', 'image.roothash'])
      expect(Buffer.compare(await readFile(at(`image/${name}`)), await readFile(at(`image-2/${name}`)))).toBe(
        0,
      )
  })

  test('is another whenever anything in it is', async () => {
    await write(at('source'), Object.keys(content))
    await symlink('policy', at('source/also'))
    const hashes = [(await make()).rootHash]
    const changes = [
      () => chmod(at('source/README.md'), 0o755),
      () => writeFile(at('source/README.md'), 'read Me\n'),
      () => mkdir(at('source/empty')),
      () => rm(at('source/also')),
      () => symlink('empty', at('source/also')),
    ]
    for (const [index, change] of changes.entries()) {
      await change()
      hashes.push((await make({ out: at(`image-${index}`) })).rootHash)
    }
    expect(new Set(hashes).size).toBe(6)
  })

  test('has the hash tree that veritysetup makes', async () => {
    await write(at('source'), Object.keys(content))
    const { rootHash, salt, uuid } = await make()
    const options = ['--salt', salt, '--uuid', uuid, '--root-hash-file', at('root')]
    execFileSync(veritysetup, ['format', ...options, at('image/image.raw'), at('tree')])
    expect((await readFile(at('root'), 'utf8')).trim()).toBe(rootHash)
    expect(Buffer.compare(await readFile(at('tree')), await readFile(at('image/image.verity')))).toBe(0)
  })

  test('has private files', async () => {
    await write(at('source'), ['README.md'])
    await make()
    expect((await lstat(at('image'))).mode & 0o777).toBe(0o700)
    for (const name of await readdir(at('image')))
      expect((await lstat(at(`image/${name}`))).mode & 0o777).toBe(0o600)
  })

  test('of nothing at all', async () => {
    const { rootHash, tree } = await make()
    expect(tree).toMatchObject({ files: 0, bytes: 0 })
    await verifyImageCommand(at('image'), { rootHash }, progress, signal)
  })

  test('of a sealed store is that of its files', async () => {
    const workspace = sealWorkspace(at('seal'))
    await initCommand(
      { directory: at('seal'), custody: 'superadmin', expires, protection: null, entropy: seeded('image') },
      signal,
    )
    await writeFile(path.join(workspace.draft, 'roles.json'), '{}\n')
    await writeFile(path.join(workspace.draft, 'profiles/work.conf'), 'include:\n- work\n')
    await signCommand(
      {
        directory: at('seal'),
        expires,
        renew: false,
        clock,
        passphrase: () => Promise.reject(new Error('asked')),
        validate: () => {},
        confirm: async () => true,
      },
      signal,
    )
    const { store, pin, floor } = workspace
    const { rootHash } = await make({ source: { store, pin, floor, clock } })
    await mkdir(at('source/profiles'))
    await writeFile(at('source/roles.json'), '{}\n')
    await writeFile(at('source/profiles/work.conf'), 'include:\n- work\n')
    expect((await make({ out: at('image-2') })).rootHash).toBe(rootHash)
    await flip(path.join(workspace.store, 'current/snapshot.json'), 60)
    expect(await codeOf(() => make({ source: { store, pin, floor, clock }, out: at('image-3') }))).toMatch(
      /^SEAL_/,
    )
  })
})

test('files in memory are staged as those in a directory', async () => {
  await write(at('source'), Object.keys(content))
  const files = new Map(Object.entries(content).map(([name, text]) => [name, utf8(text)]))
  const { rootHash } = await make()
  const entries = memoryEntries(files)
  const image = await makeImage({ entries, out: at('image-2'), signer: null, progress }, signal)
  expect(image.rootHash).toBe(rootHash)
})

test('the digest of a tree is as the reference page says', async () => {
  await write(at('source'), ['README.md', 'policy/include/admin', 'policy.txt'])
  await chmod(at('source/policy.txt'), 0o700)
  await symlink('../policy.txt', at('source/policy/link'))
  const file = (name: string) => {
    const bytes = utf8(content[name] ?? '')
    return `${bytes.byteLength} ${sha256Hex(bytes)}\0${name}`
  }
  const records = [
    `file\0${file('README.md')}`,
    'directory\0\0policy',
    'directory\0\0policy/include',
    `file\0${file('policy/include/admin')}`,
    'link\0../policy.txt\0policy/link',
    `program\0${file('policy.txt')}`,
  ]
  const { tree } = await make()
  expect(tree.digest).toBe(sha256Hex(utf8(records.map(record => `${record}\0\n`).join(''))))
})

describe('verifying', () => {
  beforeEach(async () => {
    await write(at('source'), Object.keys(content))
    makeKey('seal')
    await make({ signing: { key: at('seal.key'), certificate: at('seal.crt') } })
  })
  const verify = (certificate = 'seal.crt') =>
    verifyImageCommand(at('image'), { certificate: at(certificate) }, progress, signal)
  const stockVerify = async () => {
    const { image, tree, rootHash } = imageFiles(at('image'))
    return spawnSync(veritysetup, ['verify', image, tree, await readFile(rootHash, 'utf8')]).status
  }
  const stockSignature = () => {
    const files = [
      '-in',
      'image/image.roothash.p7s',
      '-content',
      'image/image.roothash',
      '-certfile',
      'seal.crt',
    ]
    const options = ['-verify', '-binary', '-inform', 'der', '-nointern', '-noverify']
    return spawnSync('openssl', ['smime', ...options, ...files], { cwd: at('.') }).status
  }

  test('accepts it, and so do veritysetup and openssl', async () => {
    const { result } = await verify()
    expect(result.rootHash).toBe(await readFile(at('image/image.roothash'), 'utf8'))
    expect(await stockVerify()).toBe(0)
    expect(stockSignature()).toBe(0)
  })

  test('refuses one bit of the image changed, and so does veritysetup', async () => {
    await flip(at('image/image.raw'), 5 * 4096 + 1)
    expect(await codeOf(() => verify())).toBe('VERITY_MISMATCH')
    expect(await stockVerify()).toBeGreaterThan(0)
  })

  test('refuses one bit of the hash tree changed', async () => {
    await flip(at('image/image.verity'), 2 * 4096)
    expect(await codeOf(() => verify())).toBe('VERITY_MISMATCH')
  })

  test('refuses a piece of the hash tree in the place of the image, which veritysetup does not', async () => {
    const { image, tree } = imageFiles(at('image'))
    const hashes = await readFile(tree)
    const header = Buffer.from(hashes.subarray(0, 4096))
    header.writeBigUInt64LE(1n, 72)
    await writeFile(image, hashes.subarray(4096, 2 * 4096))
    await writeFile(tree, header)
    expect(await stockVerify()).toBe(0)
    expect(await codeOf(() => verify())).toBe('SEAL_IMAGE_NO_FILE_SYSTEM')
  })

  test('refuses another root hash, and so does openssl', async () => {
    await write(at('other'), ['README.md'])
    await make({ source: at('other'), out: at('image-2') })
    for (const name of ['image.raw', 'image.verity', 'image.roothash'])
      await writeFile(at(`image/${name}`), await readFile(at(`image-2/${name}`)))
    expect(await codeOf(() => verify())).toBe('PKCS7_SIGNATURE_WRONG')
    expect(stockSignature()).toBeGreaterThan(0)
  })

  test('refuses the signature of somebody else', async () => {
    makeKey('other')
    expect(await codeOf(() => verify('other.crt'))).toBe('PKCS7_SIGNER_OTHER')
  })

  test('refuses an image whose signature was taken away', async () => {
    await rm(at('image/image.roothash.p7s'))
    expect(await codeOf(() => verify())).toBe('SEAL_IMAGE_INCOMPLETE')
  })

  test('does not believe the description, nor the root hash that lies there when it is given another', async () => {
    await writeFile(at('image/image.json'), 'nothing')
    await verify()
    const rootHash = parseDigest('0'.repeat(64))
    const against = verifyImageCommand(at('image'), { rootHash }, progress, signal)
    expect(await codeOf(() => against)).toBe('VERITY_MISMATCH')
  })
})

describe('signing', () => {
  beforeEach(() => write(at('source'), ['README.md']))
  const signing = (name: string, certificate = name) => ({
    key: at(`${name}.key`),
    certificate: at(`${certificate}.crt`),
  })

  test('with a P-256 key under a passphrase', async () => {
    makeKey('seal', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-passout', 'pass:correct')
    using correct = Secret.take(utf8('correct'))
    const asked: string[] = []
    const passphrase = async (file: string) => {
      asked.push(file)
      return correct
    }
    await make({ signing: signing('seal'), passphrase })
    expect(asked).toEqual([at('seal.key')])
    await verifyImageCommand(at('image'), { certificate: at('seal.crt') }, progress, signal)
    const wrong = async () => Secret.take(utf8('wrong'))
    expect(
      await codeOf(() => make({ signing: signing('seal'), passphrase: wrong, out: at('image-2') })),
    ).toBe('SEAL_KEY_PASSPHRASE_WRONG')
  })

  test('with a key that others can read, of another certificate, or that is none', async () => {
    makeKey('seal')
    makeKey('other')
    expect(await codeOf(() => make({ signing: signing('seal', 'other') }))).toBe('SEAL_IMAGE_KEY_INVALID')
    await writeFile(at('none.key'), 'none', { mode: 0o600 })
    expect(await codeOf(() => make({ signing: signing('none', 'seal') }))).toBe('SEAL_KEY_FILE_INVALID')
    await chmod(at('seal.key'), 0o640)
    expect(await codeOf(() => make({ signing: signing('seal') }))).toBe('SEAL_KEY_FILE_OPEN')
    expect((await readdir(at('.'))).filter(name => name.startsWith('image'))).toEqual([])
  })
})

describe('refused is', () => {
  const entries = () => codeOf(() => make())

  test.each([
    ['an absolute link', 'links/a', '/etc/passwd'],
    ['a link above the root', 'links/a', '../../x'],
    ['a link to above the root', 'links/a', '../..'],
    ['a link that climbs behind another link', 'links/a', 'b/../../x'],
  ])('%s', async (_, name, target) => {
    await mkdir(at('source/links'))
    await symlink(target, at(`source/${name}`))
    expect(await entries()).toBe('SEAL_IMAGE_REFUSED')
    expect(await readdir(at('.'))).toEqual(['source'])
  })

  test('not a link that stays inside, whether it leads anywhere or not', async () => {
    await mkdir(at('source/links'))
    for (const [index, target] of ['..', '../links/./b', 'nowhere', '../x'].entries())
      await symlink(target, at(`source/links/${index}`))
    expect(await entries()).toBe('ok')
  })

  test('a pipe, a socket and a device', async () => {
    execFileSync('mkfifo', [at('source/pipe')])
    expect(await entries()).toBe('SEAL_IMAGE_REFUSED')
    await rm(at('source/pipe'))
    const server = createServer().listen(at('source/socket'))
    await new Promise(resolve => server.once('listening', resolve))
    expect(await entries()).toBe('SEAL_IMAGE_REFUSED')
    await new Promise(resolve => server.close(resolve))
    if (spawnSync('mknod', [at('source/device'), 'c', '1', '5']).status === 0)
      expect(await entries()).toBe('SEAL_IMAGE_REFUSED')
  })

  test('a name that is not UTF-8', async () => {
    await writeFile(Buffer.concat([Buffer.from(at('source/')), Buffer.of(0xff, 0x41)]), 'x')
    expect(await entries()).toBe('SEAL_IMAGE_REFUSED')
  })

  test('a place inside the source, or one that is taken', async () => {
    expect(await codeOf(() => make({ out: at('source/image') }))).toBe('SEAL_IMAGE_REFUSED')
    expect(await codeOf(() => make({ out: at('source') }))).toBe('SEAL_IMAGE_REFUSED')
    await make()
    const before = await readFile(at('image/image.raw'))
    expect(await entries()).toBe('SEAL_EXISTS')
    expect(Buffer.compare(await readFile(at('image/image.raw')), before)).toBe(0)
  })
})

describe('all or nothing', () => {
  beforeEach(() => write(at('source'), Object.keys(content)))

  test('when it is stopped, at whichever step', async () => {
    for (const step of ['copied', 'hashed'] as const) {
      const stop = new AbortController()
      const stopping = makeImage(
        {
          entries: directoryEntries(at('source')),
          out: at('image'),
          signer: null,
          progress: now => {
            if (now === step) stop.abort(new Error(`stopped when ${step}`))
          },
        },
        stop.signal,
      )
      await expect(stopping).rejects.toThrow(`stopped when ${step}`)
      expect(await readdir(at('.'))).toEqual(['source'])
    }
  })

  test('when the signer fails', async () => {
    makeKey('seal')
    const signer = {
      certificate: await readCertificate(at('seal.crt')),
      sign: () => Promise.reject(new Error('the token was pulled')),
    }
    const failing = makeImage(
      { entries: directoryEntries(at('source')), out: at('image'), signer, progress },
      signal,
    )
    await expect(failing).rejects.toThrow('the token was pulled')
    expect((await readdir(at('.'))).sort()).toEqual(['seal.crt', 'seal.key', 'source'])
  })

  test('when something cannot be copied', async () => {
    // A name that no file system takes.
    const entries = memoryEntries(new Map([['x'.repeat(300), utf8('x')]]))
    const options = { entries, out: at('image'), signer: null, progress }
    expect(await codeOf(() => makeImage(options, signal))).toBe('SEAL_IO')
    expect(await leftovers()).toEqual([])
  })

  test('when mkfs.erofs fails', async () => {
    const uuid = '01234567-89ab-4def-8123-456789abcdef'
    expect(await codeOf(() => makeErofs(at('made'), at('source'), uuid, signal))).toBe('ok')
    expect(await codeOf(() => makeErofs(at('made'), at('nothing'), uuid, signal))).toBe('SEAL_IMAGE_TOOL')
  })

  test('when somebody else makes the same meanwhile', async () => {
    const results = await Promise.all([1, 2].map(() => codeOf(() => make())))
    expect(results.sort()).toEqual(['SEAL_EXISTS', 'ok'])
    expect(await leftovers()).toEqual([])
    const rootHash = parseDigest(await readFile(at('image/image.roothash'), 'utf8'))
    await verifyImageCommand(at('image'), { rootHash }, progress, signal)
  })
})
