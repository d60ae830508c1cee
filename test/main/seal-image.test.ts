import { execFileSync, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')

let directory: string
const at = (name: string) => path.join(directory, name)
beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'seal-image-'))
  mkdirSync(at('source'))
  writeFileSync(at('source/policy'), 'deny\n')
  const files = ['-keyout', at('seal.key'), '-out', at('seal.crt')]
  execFileSync('openssl', ['req', '-x509', '-nodes', '-newkey', 'rsa:2048', '-subj', '/CN=seal', ...files], {
    stdio: 'pipe',
  })
  chmodSync(at('seal.key'), 0o600)
})
afterAll(() => rmSync(directory, { recursive: true }))

function seal(umask: string, ...given: readonly string[]) {
  const command = [strongroom, 'seal', 'image', ...given].map(word => `'${word}'`).join(' ')
  const { status, stdout, stderr } = spawnSync('sh', ['-c', `umask ${umask}; exec ${command}`], {
    cwd: directory,
    encoding: 'utf8',
  })
  return { status, stdout, stderr }
}

test('the same image with any umask, verified from its files alone', () => {
  const signing = ['--key', 'seal.key', '--certificate', 'seal.crt', '--json']
  const rootHashes = ['000', '077', '777'].map(umask => {
    const made = seal(umask, '--source', 'source', '--out', `image-${umask}`, ...signing)
    expect(made).toMatchObject({ status: 0, stderr: '' })
    expect(readdirSync(at(`image-${umask}`)).sort()).toEqual([
      'image.json',
      'image.raw',
      'image.roothash',
      'image.roothash.p7s',
      'image.verity',
    ])
    return JSON.parse(made.stdout).result.rootHash
  })
  expect(new Set(rootHashes).size).toBe(1)
  const verified = seal('022', 'verify', '--out', 'image-077', '--certificate', 'seal.crt')
  expect(verified).toMatchObject({ status: 0, stderr: '' })
  expect(verified.stdout).toContain(`root hash ${rootHashes[0]}`)
})

test('a changed image ends with the status of an alarm', () => {
  seal('022', '--source', 'source', '--out', 'image')
  const rootHash = readFileSync(at('image/image.roothash'), 'utf8')
  expect(seal('022', 'verify', '--out', 'image', '--root-hash', rootHash).status).toBe(0)
  const bytes = readFileSync(at('image/image.raw'))
  bytes[1024] = (bytes[1024] ?? 0) ^ 1
  writeFileSync(at('image/image.raw'), bytes)
  const refused = seal('022', 'verify', '--out', 'image', '--root-hash', rootHash, '--json')
  expect(refused.status).toBe(4)
  expect(JSON.parse(refused.stderr)).toMatchObject({ code: 'VERITY_MISMATCH' })
})

describe('a usage error is', () => {
  test.each([
    ['no place', ['--source', 'source']],
    ['a key without its certificate', ['--source', 'source', '--out', 'x', '--key', 'seal.key']],
    ['verifying against nothing', ['verify', '--out', 'image']],
    [
      'verifying against two things',
      ['verify', '--out', 'x', '--certificate', 'seal.crt', '--root-hash', '0'],
    ],
    ['another verb', ['mount', '--out', 'image']],
  ])('%s', (_, given) => {
    expect(seal('022', ...given).status).toBe(2)
  })
})
