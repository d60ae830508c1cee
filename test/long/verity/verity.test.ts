import { execFileSync, spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { imageCommand } from '../../../src/sealing/image-commands.ts'
import { maySkip } from '../../support/may-skip.ts'

/*
 * Images as Linux sees them: a kernel of Debian's, in QEMU without hardware of its own, opens what `strongroom seal image`
 * made. `sh scripts/setup.sh long` unpacks the kernel.
 */

const kernel = path.join(import.meta.dirname, '../../../.cache/kernel')
const qemu = '/usr/bin/qemu-system-x86_64'
const isMissing = !existsSync(path.join(kernel, 'boot')) || !existsSync(qemu)
if (isMissing) console.warn('SKIPPED: images were not opened by a kernel: run `sh scripts/setup.sh long`')

const signal = new AbortController().signal
const large = 'x'.repeat(300_000)
const bootMillisecondsMax = 600_000

let directory: string
const at = (name: string) => path.join(directory, name)
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** What the guest says, by the first word of each line. */
let found: ReadonlyMap<string, string>
let said: string

async function makeImages(): Promise<string> {
  mkdirSync(at('source/policy'), { recursive: true })
  writeFileSync(at('source/README.md'), 'read me\n')
  writeFileSync(at('source/large'), large)
  for (let index = 0; index < 200; index++) writeFileSync(at(`source/policy/${index}`), `policy ${index}\n`)
  const kinds = { rsa: ['rsa:3072'], p256: ['ec', '-pkeyopt', 'ec_paramgen_curve:P-256'] }
  let rootHash = ''
  for (const [name, kind] of Object.entries(kinds)) {
    const files = { key: at(`${name}.key`), certificate: at(`${name}.crt`) }
    const written = ['-keyout', files.key, '-out', files.certificate]
    execFileSync(
      'openssl',
      ['req', '-x509', '-nodes', '-subj', `/CN=${name}`, '-newkey', ...kind, ...written],
      {
        stdio: 'pipe',
      },
    )
    const { result } = await imageCommand(
      {
        source: at('source'),
        out: at(name),
        signing: files,
        passphrase: () => Promise.reject(new Error('asked')),
        progress: () => {},
      },
      signal,
    )
    rootHash = result.rootHash
  }
  const image = readFileSync(at('rsa/image.raw'))
  const place = image.indexOf('x'.repeat(5000)) + 4500
  image[place] = (image[place] ?? 0) ^ 1
  writeFileSync(at('bad'), image)
  return rootHash
}

/** busybox, veritysetup with its libraries, and the modules that it takes, as the kernel unpacks them. */
function makeInitramfs(rootHash: string): void {
  const root = at('initramfs')
  for (const name of ['bin', 'dev', 'proc', 'sys', 'mnt', 'modules', 'run', 'lib64'])
    mkdirSync(path.join(root, name), { recursive: true })
  copyFileSync('/bin/busybox', path.join(root, 'bin/busybox'))
  copyFileSync('/sbin/veritysetup', path.join(root, 'bin/veritysetup'))
  const libraries = execFileSync('ldd', ['/sbin/veritysetup'], { encoding: 'utf8' })
  for (const [library] of libraries.matchAll(/\/\S+/g)) {
    mkdirSync(path.join(root, path.dirname(library)), { recursive: true })
    copyFileSync(library, path.join(root, library))
  }
  const [release = ''] = readdirSync(path.join(kernel, 'lib/modules'))
  execFileSync('/sbin/depmod', ['-b', kernel, release], { stdio: 'pipe' })
  const order: string[] = []
  for (const name of ['virtio_pci', 'virtio_blk', 'dm-verity', 'erofs', 'sha256_generic']) {
    const lines = execFileSync('/sbin/modprobe', ['-d', kernel, '-S', release, '--show-depends', name], {
      encoding: 'utf8',
    })
    for (const [, file = ''] of lines.matchAll(/^insmod (\S+)/gm)) {
      if (order.includes(path.basename(file))) continue
      order.push(path.basename(file))
      copyFileSync(file, path.join(root, 'modules', path.basename(file)))
    }
  }
  writeFileSync(path.join(root, 'modules/order'), order.join('\n'))
  writeFileSync(path.join(root, 'root-hash'), rootHash)
  copyFileSync(at('rsa/image.roothash.p7s'), path.join(root, 'rsa.p7s'))
  copyFileSync(at('p256/image.roothash.p7s'), path.join(root, 'p256.p7s'))
  writeFileSync(path.join(root, 'broken.p7s'), readFileSync(at('rsa/image.roothash.p7s')).subarray(0, 100))
  copyFileSync(path.join(import.meta.dirname, 'init.sh'), path.join(root, 'init'))
  chmodSync(path.join(root, 'init'), 0o755)
  const archive = spawnSync('sh', ['-c', 'find . | busybox cpio -o -H newc'], {
    cwd: root,
    maxBuffer: 2 ** 28,
  })
  writeFileSync(at('initramfs.cpio'), archive.stdout)
}

function boot(): string {
  const name = readdirSync(path.join(kernel, 'boot')).find(one => one.startsWith('vmlinuz-')) ?? ''
  const drives = ['rsa/image.raw', 'rsa/image.verity', 'bad'].flatMap((file, index) => [
    ...['-drive', `id=d${index},file=${at(file)},format=raw,if=none,snapshot=on`],
    ...['-device', `virtio-blk-pci,drive=d${index}`],
  ])
  const machine = ['-M', 'q35,accel=tcg', '-cpu', 'max', '-m', '384', '-nodefaults', '-no-user-config']
  const quiet = ['-display', 'none', '-nic', 'none', '-no-reboot', '-serial', 'stdio']
  const started = ['-kernel', path.join(kernel, 'boot', name), '-initrd', at('initramfs.cpio')]
  const ended = spawnSync(
    qemu,
    [...machine, ...quiet, ...started, '-append', 'console=ttyS0 quiet panic=-1', ...drives],
    {
      encoding: 'utf8',
      timeout: bootMillisecondsMax,
      killSignal: 'SIGKILL',
    },
  )
  return `${ended.stdout}${ended.stderr}`
}

describe.skipIf(maySkip(isMissing))('the kernel’s dm-verity', () => {
  beforeAll(async () => {
    directory = mkdtempSync(path.join(tmpdir(), 'verity-kernel-'))
    makeInitramfs(await makeImages())
    said = boot()
    const lines = said.matchAll(/^FOUND (\S+) ?(.*?)\r?$/gm)
    found = new Map([...lines].map(([, name = '', rest = '']) => [name, rest]))
    expect(found.has('end'), said).toBe(true)
  }, bootMillisecondsMax)

  test('opens the image, which holds what the source holds', () => {
    const list = 'find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum | cut -c1-64'
    const digest = execFileSync('sh', ['-c', list], { cwd: at('source'), encoding: 'utf8' }).trim()
    expect(found.get('good')).toBe(`${digest} verified`)
  })

  test('gives an error for a block that was changed, and the rest as it was', () => {
    expect(found.get('bad')).toBe('error whole corrupted')
  })

  test('notices a change after the image was verified and opened, which nothing else would', () => {
    expect(found.get('verified')).toBe('yes')
    expect(found.get('changed')).toBe('error whole corrupted')
    // Without it the changed image is read as if nothing were wrong.
    expect(found.get('unprotected')).toMatch(/^whole [0-9a-f]{64}$/)
    expect(found.get('unprotected')).not.toContain(found.get('good')?.slice(0, 64))
  })

  test('understands our signatures, whose key it does not have, and no other bytes', () => {
    // It looks for the key only after it has parsed the signature.
    for (const kind of ['rsa', 'p256'])
      expect(found.get(`signature-${kind}`)).toContain('Required key not available')
    expect(found.get('signature-broken')).not.toContain('Required key not available')
    expect(found.get('signature-broken')).not.toBe('')
  })
})
