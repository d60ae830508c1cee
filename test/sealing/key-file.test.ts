import { execFileSync } from 'node:child_process'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { Secret } from '../../src/base/secret.ts'
import { verifySignature } from '../../src/crypto/signature.ts'
import { hasLowerS } from '../../src/sealing/ecdsa.ts'
import { createKeyFile, readKeyFile } from '../../src/sealing/key-file.ts'
import { codeOf } from '../support/code-of.ts'
import { seeded, signal, temporaryDirectory } from './fixture.ts'

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let file: string
beforeEach(async () => {
  directory = await temporaryDirectory()
  file = directory.at('key.pem')
})
afterEach(() => directory[Symbol.asyncDispose]())

const typed = 'correct horse battery staple'
const passphrase = (text = typed) => Secret.take(utf8(text))
/** Little work, which a test repeats often. */
const protection = (secret: Secret) => ({ passphrase: secret, workFactor: 4 })
const unasked = () => Promise.reject(new Error('asked for a passphrase'))
const message = utf8('message')

test('a key in clear is private, and signs after it was read again', async () => {
  const made = await createKeyFile(file, null, seeded('key'))
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const read = await readKeyFile(file, unasked)
  expect(read.keyId).toBe(made.keyId)
  expect(verifySignature(made.publicKey.handle, message, await read.sign(message, signal))).toBe(true)
})

test('a key under a passphrase opens with it, here and by stock age', async () => {
  using secret = passphrase()
  const made = await createKeyFile(file, protection(secret), seeded('key'))
  expect(await readFile(file, 'latin1')).toMatch(/^age-encryption\.org\/v1\n-> scrypt /)
  expect((await readKeyFile(file, async () => secret)).keyId).toBe(made.keyId)
  const pem = directory.at('clear.pem')
  // age asks on a terminal only.
  execFileSync('script', ['-qec', `age -d -o ${pem} ${file}`, '/dev/null'], { input: `${typed}\n` })
  const publicPem = execFileSync('openssl', ['pkey', '-in', pem, '-pubout'])
  expect(publicPem.toString()).toBe(made.publicKey.handle.export({ format: 'pem', type: 'spki' }))
})

test('a key that openssl made and stock age encrypted is read', async () => {
  const clear = directory.at('clear.pem')
  execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', clear])
  execFileSync('script', ['-qec', `age -p -o ${file} ${clear}`, '/dev/null'], {
    input: `${typed}\n${typed}\n`,
  })
  await chmod(file, 0o600)
  await chmod(clear, 0o600)
  using secret = passphrase()
  const { keyId } = await readKeyFile(clear, unasked)
  expect((await readKeyFile(file, async () => secret)).keyId).toBe(keyId)
})

test('an age file for a recipient is no key file: anyone could have made it', async () => {
  const clear = directory.at('clear.pem')
  execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', clear])
  execFileSync('age-keygen', ['-o', directory.at('identity')])
  const recipient = execFileSync('age-keygen', ['-y', directory.at('identity')])
    .toString()
    .trim()
  execFileSync('age', ['-r', recipient, '-o', file, clear])
  await chmod(file, 0o600)
  using secret = passphrase()
  expect(await codeOf(() => readKeyFile(file, async () => secret))).toBe('SEAL_KEY_FILE_INVALID')
})

test('a file that asks for more work than any of ours is refused before the work', async () => {
  using secret = passphrase()
  await createKeyFile(file, protection(secret), seeded('key'))
  const text = await readFile(file, 'latin1')
  await writeFile(file, text.replace(/(-> scrypt \S+) \d+/, '$1 30'), 'latin1')
  expect(await codeOf(() => readKeyFile(file, async () => secret))).toBe('SEAL_KEY_FILE_INVALID')
})

test('each changed byte of an encrypted key is noticed', async () => {
  using secret = passphrase()
  await createKeyFile(file, protection(secret), seeded('key'))
  const bytes = await readFile(file)
  for (let at = 0; at < bytes.byteLength; at += 7) {
    const changed = Uint8Array.from(bytes)
    changed[at] = (changed[at] ?? 0) ^ 1
    await writeFile(file, changed)
    expect(await codeOf(() => readKeyFile(file, async () => secret)), `byte ${at}`).toMatch(/^SEAL_KEY_/)
  }
})

test('a key of P-256 signs in the one accepted form', async () => {
  const curve = ['-pkeyopt', 'ec_paramgen_curve:P-256']
  execFileSync('openssl', ['genpkey', '-algorithm', 'EC', ...curve, '-out', file])
  const read = await readKeyFile(file, unasked)
  expect(read.publicKey.type).toBe('ecdsa-p256')
  for (let count = 0; count < 20; count++) {
    const signature = await read.sign(message, signal)
    expect(hasLowerS(signature)).toBe(true)
    expect(verifySignature(read.publicKey.handle, message, signature)).toBe(true)
  }
})

test('keys that openssl made and stretched with scrypt are read', async () => {
  const clear = directory.at('clear.pem')
  execFileSync('openssl', ['genpkey', '-algorithm', 'ed25519', '-out', clear])
  await writeFile(directory.at('pass'), 'pass\n')
  execFileSync('openssl', [
    'pkcs8',
    '-topk8',
    '-scrypt',
    '-in',
    clear,
    '-out',
    file,
    '-passout',
    `file:${directory.at('pass')}`,
  ])
  await chmod(file, 0o600)
  await chmod(clear, 0o600)
  using secret = passphrase('pass')
  expect((await readKeyFile(file, async () => secret)).keyId).toBe((await readKeyFile(clear, unasked)).keyId)
})

test('a wrong passphrase is an error of the key', async () => {
  using secret = passphrase()
  await createKeyFile(file, protection(secret), seeded('key'))
  using wrong = passphrase('wrong')
  expect(await codeOf(() => readKeyFile(file, async () => wrong))).toBe('SEAL_KEY_PASSPHRASE_WRONG')
})

test('a file that others may read is refused', async () => {
  await createKeyFile(file, null, seeded('key'))
  await chmod(file, 0o640)
  expect(await codeOf(() => readKeyFile(file, unasked))).toBe('SEAL_KEY_FILE_OPEN')
})

test('a key is never overwritten', async () => {
  await createKeyFile(file, null, seeded('key'))
  const before = await readFile(file)
  expect(await codeOf(() => createKeyFile(file, null, seeded('other')))).toBe('SEAL_EXISTS')
  expect(await readFile(file)).toEqual(before)
})

test('what is no sealing key is refused', async () => {
  for (const content of ['', 'nonsense', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n']) {
    await writeFile(file, content, { mode: 0o600 })
    expect(await codeOf(() => readKeyFile(file, unasked)), content).toBe('SEAL_KEY_FILE_INVALID')
  }
  execFileSync('openssl', [
    'genpkey',
    '-algorithm',
    'EC',
    '-pkeyopt',
    'ec_paramgen_curve:P-384',
    '-out',
    file,
  ])
  expect(await codeOf(() => readKeyFile(file, unasked))).toBe('SEAL_KEY_FILE_INVALID')
  await writeFile(file, 'x'.repeat(20_000))
  expect(await codeOf(() => readKeyFile(file, unasked))).toBe('SEAL_KEY_FILE_INVALID')
  expect(await codeOf(() => readKeyFile(directory.at('nothing'), unasked))).toBe('SEAL_IO')
})
