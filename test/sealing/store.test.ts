import { mkdir, readdir, readFile, readlink, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BaseError } from '../../src/base/base-errors.ts'
import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { nodeDisk, type StoreDisk } from '../../src/sealing/disk.ts'
import { generationOf, readGeneration, writeGeneration } from '../../src/sealing/generation.ts'
import { encodePin } from '../../src/sealing/pin.ts'
import { FileSealedStore, type SealedStoreOptions } from '../../src/sealing/store.ts'
import { encodeUpdate } from '../../src/sealing/update.ts'
import { codeOf } from '../support/code-of.ts'
import { clock, firstFiles, next, now, temporaryDirectory, twoVersions } from './fixture.ts'

type Configuration = ReadonlyMap<string, string>

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let made: Awaited<ReturnType<typeof twoVersions>>
let options: SealedStoreOptions<Configuration>

const parseConfiguration = (files: ReadonlyMap<string, Uint8Array>): Configuration =>
  new Map([...files].map(([name, bytes]) => [name, fromUtf8(bytes)]))
const untrusted = (bytes: Uint8Array) => new Untrusted(bytes)
const whole = () => untrusted(encodeUpdate(made.first.files))
const profile = (configuration: Configuration) => configuration.get('profiles/work.conf')

beforeEach(async () => {
  directory = await temporaryDirectory()
  made = await twoVersions()
  options = {
    store: directory.at('store'),
    pin: directory.at('pin.json'),
    floor: directory.at('floor.json'),
    parseConfiguration,
    clock,
  }
  await writeFile(options.pin, encodePin(made.pin))
})
afterEach(() => directory[Symbol.asyncDispose]())

async function current(): Promise<string> {
  return path.join(options.store, await readlink(path.join(options.store, 'current')))
}

describe('a store on disk', () => {
  test('is installed, opened again, and updated', async () => {
    const installed = await FileSealedStore.install(options, whole())
    expect(installed.current()).toMatchObject({ version: 1, expired: false, custody: 'split' })
    const store = await FileSealedStore.open(options)
    expect(store.current().digest).toBe(made.first.configuration.digest)
    const sealed = await store.admit(untrusted(made.second.update))
    expect(sealed).toMatchObject({ version: 2, digest: made.second.configuration.digest })
    expect(profile(sealed.value)).toContain('mail')
    await store.recheck()
    expect((await FileSealedStore.open(options)).current().version).toBe(2)
  })

  test('keeps the generation in force only, and a private floor', async () => {
    const store = await FileSealedStore.install(options, whole())
    await store.admit(untrusted(made.second.update))
    const digest = made.second.configuration.digest
    expect((await readdir(options.store)).sort()).toEqual(['current', `version-2-${digest.slice(0, 16)}`])
    expect((await stat(options.floor)).mode & 0o777).toBe(0o600)
    expect(JSON.parse(await readFile(options.floor, 'utf8'))).toEqual({
      v: 1,
      type: 'floor',
      version: 2,
      digest,
      rootVersion: 1,
    })
  })

  test('takes updates given at once one after another', async () => {
    const store = await FileSealedStore.install(options, whole())
    const third = await next(made.second.files, made.pin, firstFiles)
    const [two, three] = await Promise.all([
      store.admit(untrusted(made.second.update)),
      store.admit(untrusted(third.update)),
    ])
    expect([two.version, three.version]).toEqual([2, 3])
  })

  test('an expired store stays in force and says so', async () => {
    await FileSealedStore.install(options, whole())
    const late = { ...options, clock: { ...clock, now: () => new Date('2040-01-01T00:00:00Z') } }
    const store = await FileSealedStore.open(late)
    expect(store.current().expired).toBe(true)
    expect(profile(store.current().value)).toContain('work')
    expect(await codeOf(() => store.admit(untrusted(made.second.update)))).toBe('SEAL_EXPIRED')
    expect(store.current().version).toBe(1)
  })

  test('expires while it is open', async () => {
    let time = now
    const store = await FileSealedStore.install({ ...options, clock: { ...clock, now: () => time } }, whole())
    expect(store.current().expired).toBe(false)
    time = new Date('2040-01-01T00:00:00Z')
    expect(store.current().expired).toBe(true)
  })
})

describe('a refused update changes nothing', () => {
  test('when it is not the next version, or not one at all', async () => {
    const store = await FileSealedStore.install(options, whole())
    const third = await next(made.second.files, made.pin, firstFiles)
    expect(await codeOf(() => store.admit(untrusted(encodeUpdate(third.files))))).toBe('SEAL_SKIPPED')
    expect(await codeOf(() => store.admit(whole()))).toBe('SEAL_INSTALLED')
    expect(await codeOf(() => store.admit(untrusted(utf8('nonsense'))))).toBe('SEAL_UPDATE_MALFORMED')
    expect(store.current().version).toBe(1)
    await store.recheck()
  })

  test('when the configuration in it does not parse', async () => {
    const strict = {
      ...options,
      parseConfiguration: (files: ReadonlyMap<string, Uint8Array>) => {
        const parsed = parseConfiguration(files)
        if (profile(parsed)?.includes('mail')) throw new BaseError('FIELD_INVALID', 'no VM of this name')
        return parsed
      },
    }
    const store = await FileSealedStore.install(strict, whole())
    expect(await codeOf(() => store.admit(untrusted(made.second.update)))).toBe('FIELD_INVALID')
    expect((await FileSealedStore.open(strict)).current().version).toBe(1)
  })
})

test('roots may change often, and what could not be read again is not put in force', async () => {
  const made = await twoVersions()
  const roots = async (count: number) =>
    writeGeneration(
      directory.at('many'),
      generationOf(1, made.first.configuration.digest),
      {
        ...made.first.files,
        roots: new Map(Array.from({ length: count }, (_, index) => [index + 1, utf8('root\n')])),
      },
      nodeDisk,
    )
  await roots(900)
  expect((await readGeneration(directory.at('many'))).roots.size).toBe(900)
  await rm(directory.at('many'), { recursive: true })
  expect(await codeOf(() => roots(1000))).toBe('SEAL_FILE_UNEXPECTED')
  expect(await codeOf(() => readGeneration(directory.at('many')))).toBe('SEAL_EMPTY')
})

describe('what somebody did to the disk', () => {
  test('an old copy put back is a rollback', async () => {
    const store = await FileSealedStore.install(options, whole())
    await store.admit(untrusted(made.second.update))
    await rm(options.store, { recursive: true })
    expect(await codeOf(() => FileSealedStore.install(options, whole()))).toBe('SEAL_ROLLBACK')
  })

  test('a changed byte in any file is found, at the start and while running', async () => {
    const store = await FileSealedStore.install(options, whole())
    const generation = await current()
    const files = (await readdir(generation, { recursive: true })).filter(name => name.endsWith('.json'))
    expect(files).toHaveLength(7)
    for (const name of files) {
      const file = path.join(generation, name)
      const honest = await readFile(file)
      const changed = Buffer.from(honest)
      changed[changed.length - 20] = (changed[changed.length - 20] ?? 0) ^ 1
      await writeFile(file, changed)
      await expect(store.recheck(), name).rejects.toMatchObject({ kind: 'integrity' })
      await expect(FileSealedStore.open(options), name).rejects.toMatchObject({ kind: 'integrity' })
      await writeFile(file, honest)
    }
    await store.recheck()
  })

  test('a newer store put in place is found while running', async () => {
    const store = await FileSealedStore.install(options, whole())
    const other = await FileSealedStore.open(options)
    await other.admit(untrusted(made.second.update))
    expect(await codeOf(() => store.recheck())).toBe('SEAL_CHANGED')
  })

  test('a store that is gone is found while running, and is an alarm', async () => {
    const store = await FileSealedStore.install(options, whole())
    await rename(path.join(options.store, 'current'), directory.at('current'))
    expect(await codeOf(() => store.recheck())).toBe('SEAL_CHANGED')
    await rename(directory.at('current'), path.join(options.store, 'current'))
    await store.recheck()
    await rm(path.join(await current(), 'snapshot.json'))
    await expect(store.recheck()).rejects.toMatchObject({ kind: 'integrity' })
  })

  test('files that do not belong there are refused', async () => {
    await FileSealedStore.install(options, whole())
    const generation = await current()
    await writeFile(path.join(generation, 'extra.json'), '{}')
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_FILE_UNEXPECTED')
    await rm(path.join(generation, 'extra.json'))
    await mkdir(path.join(generation, 'roles/extra.json'))
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_FILE_UNEXPECTED')
  })

  test('a link in place of a file is not followed', async () => {
    await FileSealedStore.install(options, whole())
    const file = path.join(await current(), 'snapshot.json')
    await writeFile(directory.at('elsewhere'), await readFile(file))
    await rm(file)
    await symlink(directory.at('elsewhere'), file)
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_IO')
  })

  test('a store, pin or floor that is not there or not understood', async () => {
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_EMPTY')
    await FileSealedStore.install(options, whole())
    expect(await codeOf(() => FileSealedStore.install(options, whole()))).toBe('SEAL_EXISTS')
    await writeFile(options.floor, '{"v":1}')
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_FLOOR_INVALID')
    await rm(options.floor)
    await writeFile(options.pin, '')
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_PIN_INVALID')
    await rm(options.pin)
    expect(await codeOf(() => FileSealedStore.open(options))).toBe('SEAL_PIN_INVALID')
  })
})

/** Counts operations; the one at `failAt` fails, before or after it had its effect. */
function failing(failAt: number, effect: 'before' | 'after') {
  let count = 0
  const step = async (work: () => Promise<void>) => {
    const fails = ++count === failAt
    if (!fails || effect === 'after') await work()
    if (fails) throw Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
  }
  const disk: StoreDisk = {
    makeDirectory: one => step(() => nodeDisk.makeDirectory(one)),
    write: (file, bytes) => step(() => nodeDisk.write(file, bytes)),
    sync: one => step(() => nodeDisk.sync(one)),
    link: (target, file) => step(() => nodeDisk.link(target, file)),
    rename: (from, to) => step(() => nodeDisk.rename(from, to)),
    remove: one => step(() => nodeDisk.remove(one)),
  }
  return { disk, operations: () => count }
}

describe.each(['before', 'after'] as const)('when an operation fails %s its effect', effect => {
  test('the old store or the new one is there, and the same update succeeds later', async () => {
    let operations = Number.POSITIVE_INFINITY
    for (let failAt = 1; failAt <= operations; failAt++) {
      await rm(options.store, { recursive: true, force: true })
      await rm(options.floor, { force: true })
      await FileSealedStore.install(options, whole())
      const broken = failing(failAt, effect)
      const store = await FileSealedStore.open({ ...options, disk: broken.disk })
      const code = await codeOf(() => store.admit(untrusted(made.second.update)))
      expect(['SEAL_IO', 'ok'], `operation ${failAt}`).toContain(code)
      const reopened = await FileSealedStore.open(options)
      expect([1, 2]).toContain(reopened.current().version)
      if (code === 'ok') expect(reopened.current().version).toBe(2)
      expect(await readdir(options.store)).toHaveLength(2)
      if (store.current().version === 1) await store.admit(untrusted(made.second.update))
      expect((await FileSealedStore.open(options)).current().version).toBe(2)
      operations = Math.max(broken.operations(), failAt)
      if (failAt > broken.operations()) break
    }
    expect(operations).toBeGreaterThan(10)
  })
})
