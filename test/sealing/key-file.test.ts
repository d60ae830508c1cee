import { execFileSync } from 'node:child_process'
import { chmod, readFile, stat, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { Secret } from '../../src/base/secret.ts'
import { verifySignature } from '../../src/crypto/signature.ts'
import { createKeyFile, isKeyFileEncrypted, readKeyFile } from '../../src/sealing/key-file.ts'
import { codeOf, seeded, signal, temporaryDirectory } from './fixture.ts'

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let file: string
beforeEach(async () => {
  directory = await temporaryDirectory()
  file = directory.at('key.pem')
})
afterEach(() => directory[Symbol.asyncDispose]())

const passphrase = (text = 'correct horse battery staple') => Secret.take(utf8(text))
const message = utf8('message')

test('a key in clear is private, and signs after it was read again', async () => {
  const made = await createKeyFile(file, null, seeded('key'))
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const read = await readKeyFile(file, null)
  expect(read.keyId).toBe(made.keyId)
  expect(verifySignature(made.publicKey.handle, message, await read.sign(message, signal))).toBe(true)
})

test('a key under a passphrase opens with it, here and in openssl', async () => {
  using secret = passphrase()
  const made = await createKeyFile(file, secret, seeded('key'))
  expect(await isKeyFileEncrypted(file)).toBe(true)
  expect((await readKeyFile(file, secret)).keyId).toBe(made.keyId)
  await writeFile(directory.at('pass'), 'correct horse battery staple\n')
  const pem = execFileSync('openssl', [
    'pkey',
    '-in',
    file,
    '-passin',
    `file:${directory.at('pass')}`,
    '-pubout',
  ])
  expect(pem.toString()).toBe(made.publicKey.handle.export({ format: 'pem', type: 'spki' }))
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
  expect((await readKeyFile(file, secret)).keyId).toBe((await readKeyFile(clear, null)).keyId)
})

test('a wrong passphrase, or none, is an error of the key', async () => {
  using secret = passphrase()
  await createKeyFile(file, secret, seeded('key'))
  using wrong = passphrase('wrong')
  expect(await codeOf(() => readKeyFile(file, wrong))).toBe('SEAL_KEY_PASSPHRASE_WRONG')
  expect(await codeOf(() => readKeyFile(file, null))).toBe('SEAL_KEY_PASSPHRASE_WRONG')
})

test('a file that others may read is refused', async () => {
  await createKeyFile(file, null, seeded('key'))
  await chmod(file, 0o640)
  expect(await codeOf(() => readKeyFile(file, null))).toBe('SEAL_KEY_FILE_OPEN')
})

test('a key is never overwritten', async () => {
  await createKeyFile(file, null, seeded('key'))
  const before = await readFile(file)
  expect(await codeOf(() => createKeyFile(file, null, seeded('other')))).toBe('SEAL_EXISTS')
  expect(await readFile(file)).toEqual(before)
})

test('what is no Ed25519 key is refused', async () => {
  for (const content of ['', 'nonsense', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n']) {
    await writeFile(file, content, { mode: 0o600 })
    expect(await codeOf(() => readKeyFile(file, null)), content).toBe('SEAL_KEY_FILE_INVALID')
  }
  execFileSync('openssl', [
    'genpkey',
    '-algorithm',
    'EC',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-out',
    file,
  ])
  expect(await codeOf(() => readKeyFile(file, null))).toBe('SEAL_KEY_FILE_INVALID')
  await writeFile(file, 'x'.repeat(20_000))
  expect(await codeOf(() => readKeyFile(file, null))).toBe('SEAL_KEY_FILE_INVALID')
  expect(await codeOf(() => readKeyFile(directory.at('nothing'), null))).toBe('SEAL_IO')
})
