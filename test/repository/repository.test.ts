import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { RepositoryKey } from '../../src/crypto/aead.ts'
import { createConfig, encodeConfig, parseConfig } from '../../src/repository/config.ts'
import { createKeyFile, openKeyFile } from '../../src/repository/key-file.ts'
import { createRepository, openRepository } from '../../src/repository/repository.ts'
import { codeOf } from '../support/code-of.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { digestOf, never, newRepository, passphrase } from './fixtures.ts'

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes)
const bytesOf = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

describe('a repository', () => {
  test('opens with its passphrase, from the copies that the ledger pins', async () => {
    const store = new MemoryStore()
    using created = await newRepository(store)
    expect(store.journal).toEqual([`keys/${created.keyFile.id}`, 'config'])
    using secret = passphrase()
    const pinned = { keyFile: created.keyFile.id, config: created.config.id }
    using repository = await openRepository({
      passphrase: secret,
      keyFile: created.keyFile.body,
      config: created.config.body,
      pinned,
    })
    expect(repository.config).toEqual(created.repository.config)
    const sealed = created.repository.key.seal(new Uint8Array(3), systemEnvironment.entropy)
    expect(repository.key.open(sealed)).toHaveLength(3)
  })

  test('does not open with another passphrase', async () => {
    using created = await newRepository(new MemoryStore())
    using other = passphrase('another')
    const opening = {
      passphrase: other,
      keyFile: created.keyFile.body,
      config: created.config.body,
      pinned: { keyFile: created.keyFile.id, config: created.config.id },
    }
    expect(await codeOf(() => openRepository(opening))).toBe('REPOSITORY_PASSPHRASE')
  })

  test('an older key file and a config of another repository are not even tried', async () => {
    using created = await newRepository(new MemoryStore())
    using other = await newRepository(new MemoryStore())
    using secret = passphrase()
    const pinned = { keyFile: created.keyFile.id, config: created.config.id }
    const open = (keyFile: Uint8Array, config: Uint8Array) =>
      codeOf(() => openRepository({ passphrase: secret, keyFile, config, pinned }))
    expect(await open(other.keyFile.body, created.config.body)).toBe('REPOSITORY_PIN')
    expect(await open(created.keyFile.body, other.config.body)).toBe('REPOSITORY_PIN')
    expect(await open(new Uint8Array(0), created.config.body)).toBe('REPOSITORY_PIN')
  })

  test('a config that another key sealed does not open, even when it is pinned', async () => {
    using created = await newRepository(new MemoryStore())
    using other = await newRepository(new MemoryStore())
    using secret = passphrase()
    const opening = {
      passphrase: secret,
      keyFile: created.keyFile.body,
      config: other.config.body,
      pinned: { keyFile: created.keyFile.id, config: other.config.id },
    }
    expect(await codeOf(() => openRepository(opening))).toBe('MAC_WRONG')
  })

  test('is not made twice in one place', async () => {
    const store = new MemoryStore()
    using _ = await newRepository(store)
    using secret = passphrase()
    expect(await codeOf(() => createRepository(store, secret, systemEnvironment, never))).toBe(
      'STORAGE_TAKEN',
    )
  })
})

describe('the key file', () => {
  test('says nothing about the machine, and its salt is new each time', async () => {
    using master = RepositoryKey.generate(systemEnvironment.entropy)
    using secret = passphrase()
    const [one, two] = [
      JSON.parse(text(await createKeyFile(master, secret, systemEnvironment))),
      JSON.parse(text(await createKeyFile(master, secret, systemEnvironment))),
    ]
    expect(one).toMatchObject({
      username: 'strongroom',
      hostname: 'strongroom',
      kdf: 'scrypt',
      N: 32768,
      r: 8,
      p: 1,
    })
    expect(Object.keys(one)).toHaveLength(9)
    expect(one.salt).not.toBe(two.salt)
  })

  test('with any byte changed gives a typed error or the same key, and never pays an absurd cost', async () => {
    using master = RepositoryKey.generate(systemEnvironment.entropy)
    using secret = passphrase()
    // N=2 keeps the many attempts cheap; the cost is the file's own word.
    const genuine = JSON.parse(text(await createKeyFile(master, secret, systemEnvironment)))
    const file = bytesOf({ ...genuine, N: 2 })
    expect(await codeOf(() => openKeyFile(file, secret))).toBe('REPOSITORY_PASSPHRASE')
    await fc.assert(
      fc.asyncProperty(fc.nat(file.byteLength - 1), fc.nat(255), async (at, value) => {
        const changed = file.slice()
        changed[at] = value
        expect(await codeOf(() => openKeyFile(changed, secret))).not.toBe('ok')
      }),
      { numRuns: 150 },
    )
    for (const [field, value, code] of [
      ['N', 2 ** 31, 'KDF_LIMIT'],
      ['p', 2 ** 31, 'KDF_LIMIT'],
      ['N', 3, 'KDF_LIMIT'],
      ['kdf', 'argon2', 'REPOSITORY_FORMAT'],
      ['salt', 'AAAA', 'REPOSITORY_FORMAT'],
      ['salt', '*', 'REPOSITORY_FORMAT'],
      ['data', 'AAAA', 'REPOSITORY_PASSPHRASE'],
    ] as const)
      expect(await codeOf(() => openKeyFile(bytesOf({ ...genuine, [field]: value }), secret))).toBe(code)
  })
})

describe('the config', () => {
  const config = createConfig(systemEnvironment.entropy)
  const plain = JSON.parse(text(encodeConfig(config))) as Record<string, unknown>

  test('is read back, with fields of later versions passed over', () => {
    expect(parseConfig(encodeConfig(config))).toEqual(config)
    expect(parseConfig(bytesOf({ ...plain, later: { nested: 1 } }))).toEqual(config)
  })

  test.each([
    ['version 1', { version: 1 }],
    ['a short id', { id: '00' }],
    ['a reducible polynomial', { chunker_polynomial: `2${'0'.repeat(13)}` }],
    ['a polynomial of degree 0', { chunker_polynomial: '1' }],
    ['no polynomial', { chunker_polynomial: undefined }],
    ['a polynomial in capitals', { chunker_polynomial: '25B468838DCB75' }],
  ])('%s is refused', async (_, change) => {
    expect(await codeOf(() => parseConfig(bytesOf({ ...plain, ...change })))).toBe('REPOSITORY_FORMAT')
  })

  test('its id and those of created objects are digests of what is stored', async () => {
    using created = await newRepository(new MemoryStore())
    for (const { id, body, bytes } of [created.keyFile, created.config]) {
      expect(id).toBe(digestOf(body))
      expect(bytes).toBe(body.byteLength)
    }
  })
})
