import { execFileSync, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import fs, * as nodeFileSystem from 'node:fs/promises'
import path from 'node:path'
import readline from 'node:readline'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { CodedError } from '../../src/base/errors.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { objectKinds, parseObjectName } from '../../src/storage/object-store.ts'
import { collect, never, someObject, whole } from '../contract/object-store.ts'
import { failingFileSystem } from './failing-file-system.ts'
import { entropy, SleepingClock, temporaryDirectory } from './support.ts'

const config = parseObjectName('config')

async function temporaries(directory: string): Promise<string[]> {
  const all = await fs.readdir(directory, { recursive: true }).catch(() => [])
  return all.filter(file => path.basename(file).startsWith('.tmp-'))
}

describe('what lies on disk', () => {
  test('is restic’s layout, read-only, for the owner alone', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(`${directory.path}/repository`, systemEnvironment)
    const pack = someObject('pack')
    const key = someObject('key', 300, 'keys')
    await store.put(config, new Uint8Array([1]), never)
    await store.put(key.name, key.body, never)
    await store.put(pack.name, pack.body, never)
    const id = pack.name.slice(5)
    const file = `${directory.path}/repository/data/${id.slice(0, 2)}/${id}`
    expect(Buffer.from(await fs.readFile(file)).equals(pack.body)).toBe(true)
    expect((await fs.stat(file)).mode & 0o777).toBe(0o400)
    expect((await fs.stat(path.dirname(file))).mode & 0o777).toBe(0o700)
    expect(await fs.readdir(`${directory.path}/repository`)).toEqual(['config', 'data', 'keys'])
    expect(await temporaries(directory.path)).toEqual([])
  })

  test('is not made by reading', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(`${directory.path}/repository`, systemEnvironment)
    expect(await collect(store, 'data')).toEqual([])
    expect(await store.head(config, never)).toBeNull()
    expect(await store.sweep(never)).toBe(0)
    expect(await fs.readdir(directory.path)).toEqual([])
  })

  test('is read by stock restic, and stock restic’s repository by us', async () => {
    await using directory = await temporaryDirectory()
    const environment = {
      ...process.env,
      RESTIC_PASSWORD: 'test',
      RESTIC_CACHE_DIR: `${directory.path}/cache`,
    }
    const restic = (repository: string, ...args: string[]) =>
      execFileSync('restic', ['--repo', `${directory.path}/${repository}`, '--quiet', ...args], {
        env: environment,
        encoding: 'utf8',
      })
    restic('theirs', 'init')
    restic('theirs', 'backup', new URL('.', import.meta.url).pathname)
    const theirs = new LocalStore(`${directory.path}/theirs`, systemEnvironment)
    const ours = new LocalStore(`${directory.path}/ours`, systemEnvironment)
    let copied = 0
    for (const kind of objectKinds)
      for (const { name } of await collect(theirs, kind)) {
        await ours.put(name, await whole(theirs, name), never)
        copied += 1
      }
    expect(copied).toBeGreaterThanOrEqual(5)
    // restic's locks need no more than what an append-only store gives: they are removed again.
    expect(() => restic('ours', 'check', '--read-data')).not.toThrow()
    expect(restic('ours', 'ls', 'latest')).toContain('local.test.ts')
  })

  test('counts only plain files with the right names as objects', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(directory.path, systemEnvironment)
    const planted = [
      someObject('link', 10, 'keys'),
      someObject('fifo', 10, 'keys'),
      someObject('dir', 10, 'keys'),
    ]
    const [link, fifo, folder] = planted.map(({ name }) => `${directory.path}/${name}`)
    const honest = someObject('honest', 10, 'keys')
    await store.put(honest.name, honest.body, never)
    await fs.symlink('/etc/passwd', link ?? '')
    execFileSync('mkfifo', [fifo ?? ''])
    await fs.mkdir(folder ?? '')
    for (const stray of ['.tmp-1', 'README', honest.name.slice(5).toUpperCase(), `${honest.name.slice(5)}0`])
      await fs.writeFile(`${directory.path}/keys/${stray}`, 'x')
    expect(await collect(store, 'keys')).toEqual([{ name: honest.name, bytes: 10 }])
    for (const { name, body } of planted) {
      expect(await store.head(name, never)).toBeNull()
      await expect(store.get(name, 'whole', never)).rejects.toMatchObject({ code: 'STORAGE_MISSING' })
      await expect(store.put(name, body, never)).rejects.toMatchObject({ code: 'STORAGE_TAKEN' })
    }
  })

  test('can be removed by a store that was told so', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(directory.path, systemEnvironment, { appendOnly: false })
    const { name, body } = someObject('pruned')
    await store.put(name, body, never)
    await store.remove(name, { name, entry: 9 }, never)
    await store.remove(name, { name, entry: 9 }, never)
    expect(await collect(store, 'data')).toEqual([])
  })

  test('never are, if the repository could not be opened without them', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(directory.path, systemEnvironment, { appendOnly: false })
    const key = someObject('key', 300, 'keys')
    await store.put(key.name, key.body, never)
    await store.put(config, new Uint8Array([1]), never)
    for (const name of [key.name, config]) {
      const removed = store.remove(name, { name, entry: 9 }, never)
      await expect(removed).rejects.toMatchObject({ code: 'STORAGE_APPEND_ONLY' })
      expect(await store.head(name, never)).not.toBeNull()
    }
  })

  test('stay for a while whoever wants them removed, by the clock of the storage; locks go at once', async () => {
    await using directory = await temporaryDirectory()
    const clock = new SleepingClock(Date.now())
    const options = { appendOnly: false, removalAgeMin: 3_600_000 }
    const store = new LocalStore(directory.path, { clock, entropy }, options)
    const [pack, lock] = [someObject('pack'), someObject('lock', 10, 'locks')]
    for (const { name, body } of [pack, lock]) await store.put(name, body, never)
    const remove = (name: typeof pack.name) => store.remove(name, { name, entry: 9 }, never)

    await remove(lock.name)
    await expect(remove(pack.name)).rejects.toMatchObject({ code: 'STORAGE_GRACE', retry: false })
    await clock.sleep(3_590_000)
    await expect(remove(pack.name)).rejects.toMatchObject({ code: 'STORAGE_GRACE' })
    expect(await store.head(pack.name, never)).not.toBeNull()
    await clock.sleep(20_000)
    await remove(pack.name)
    await remove(pack.name)
    expect(await store.head(pack.name, never)).toBeNull()
  })

  test('whose time is in the future are young', async () => {
    await using directory = await temporaryDirectory()
    const clock = new SleepingClock(0)
    const options = { appendOnly: false, removalAgeMin: 1 }
    const store = new LocalStore(directory.path, { clock, entropy }, options)
    const { name, body } = someObject('pack')
    await store.put(name, body, never)
    await expect(store.remove(name, { name, entry: 9 }, never)).rejects.toMatchObject({
      code: 'STORAGE_GRACE',
    })
  })

  test('is swept of temporary files older than a day, and of nothing else', async () => {
    await using directory = await temporaryDirectory()
    const clock = new SleepingClock()
    const store = new LocalStore(directory.path, { clock, entropy })
    const { name, body } = someObject('kept')
    await store.put(name, body, never)
    const hour = 60 * 60 * 1000
    const plant = async (file: string, age: number) => {
      await fs.writeFile(`${directory.path}/${file}`, 'torn')
      const time = new Date(clock.now().getTime() - age)
      await fs.utimes(`${directory.path}/${file}`, time, time)
    }
    const fanOut = `data/${name.slice(5, 7)}`
    await plant('.tmp-root', 25 * hour)
    await plant(`${fanOut}/.tmp-old`, 25 * hour)
    await plant(`${fanOut}/.tmp-young`, 23 * hour)
    await plant(`${fanOut}/other`, 25 * hour)
    expect(await store.sweep(never)).toBe(2)
    expect(await temporaries(directory.path)).toEqual([`${fanOut}/.tmp-young`])
    expect(await whole(store, name)).toEqual(body)
  })
})

describe('when system calls fail', () => {
  const { name, body } = someObject('fragile', 5000)

  async function attempt(failAt: number | null, errno?: string) {
    const directory = await temporaryDirectory()
    const root = `${directory.path}/repositories/work-1`
    const { files, calls } = failingFileSystem(failAt, errno)
    const failing = new LocalStore(root, systemEnvironment, { files })
    const error = await failing.put(name, body, never).then(
      () => null,
      (error: unknown) => error,
    )
    return { directory, root, calls, error, failing }
  }

  test('an acknowledged object has been synced, and so has every name on the way to it', async () => {
    const { directory, root, calls } = await attempt(null)
    await using _ = directory
    const steps = calls.map(({ operation, path }) => `${operation} ${path.replace(directory.path, '')}`)
    const id = name.slice(5)
    const short = (text: string) =>
      text
        .replace(id, '<id>')
        .replace(id.slice(0, 2), '<fan>')
        .replace(/\.tmp-\w+/, '<tmp>')
    expect(steps.filter(step => !/^(open|stat) /.test(step)).map(short)).toEqual([
      'mkdir /repositories/work-1', // which fails: the parent comes first
      'mkdir /repositories',
      'sync ',
      'mkdir /repositories/work-1',
      'sync /repositories',
      'mkdir /repositories/work-1/data',
      'sync /repositories/work-1',
      'mkdir /repositories/work-1/data/<fan>',
      'sync /repositories/work-1/data',
      'write /repositories/work-1/data/<fan>/<tmp>',
      'sync /repositories/work-1/data/<fan>/<tmp>',
      'link /repositories/work-1/data/<fan>/<tmp>',
      'unlink /repositories/work-1/data/<fan>/<tmp>',
      'sync /repositories/work-1/data/<fan>',
    ])
    expect(await temporaries(root)).toEqual([])
  })

  test.each(['EIO', 'ENOSPC', 'EROFS', 'EMFILE'])(
    'each in turn with %s: a typed error, nothing torn, and it works again',
    async errno => {
      const total = await attempt(null)
      await total.directory[Symbol.asyncDispose]()
      expect(total.calls.length).toBeGreaterThan(15)
      for (let failAt = 0; failAt < total.calls.length; failAt++) {
        const { directory, root, calls, error, failing } = await attempt(failAt, errno)
        await using _ = directory
        const failed = calls[failAt]
        const swept = failed?.operation === 'unlink'
        if (!swept) {
          expect(error, JSON.stringify(failed)).toBeInstanceOf(CodedError)
          expect(error).toMatchObject({ code: errno === 'ENOSPC' ? 'STORAGE_FULL' : 'STORAGE_IO' })
          expect((error as CodedError).retry).toBe(errno === 'EMFILE')
          expect(await temporaries(root)).toEqual([])
        }
        // Either there is nothing, or, when only the last sync failed, the whole.
        const healthy = new LocalStore(root, systemEnvironment)
        for (const head of await collect(healthy, 'data')) expect(head.bytes).toBe(body.byteLength)
        await failing.put(name, body, never)
        expect(await whole(healthy, name)).toEqual(body)
      }
    },
  )

  test('short reads and short writes are continued', async () => {
    await using directory = await temporaryDirectory()
    const open: typeof nodeFileSystem.open = async (...args) => {
      const handle = await nodeFileSystem.open(...args)
      return new Proxy(handle, {
        get(target, property) {
          const method: unknown = Reflect.get(target, property)
          if (typeof method !== 'function') return method
          if (property !== 'write' && property !== 'read') return method.bind(target)
          return (bytes: Uint8Array, at: number, length: number, position?: number) =>
            method.call(target, bytes, at, Math.min(length, 7), position)
        },
      })
    }
    const files = { ...nodeFileSystem, open }
    const store = new LocalStore(directory.path, systemEnvironment, { files })
    const object = someObject('short', 100)
    await store.put(object.name, object.body, never)
    await store.put(object.name, object.body, never)
    expect(await whole(store, object.name)).toEqual(object.body)
  })

  test('an object that was damaged on disk is not taken for the same', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(directory.path, systemEnvironment)
    await store.put(name, body, never)
    const file = `${directory.path}/data/${name.slice(5, 7)}/${name.slice(5)}`
    await fs.chmod(file, 0o600)
    await fs.writeFile(
      file,
      body.map((byte, at) => (at === 4999 ? byte ^ 1 : byte)),
    )
    await expect(store.put(name, body, never)).rejects.toMatchObject({ code: 'STORAGE_TAKEN' })
    await fs.truncate(file, 10)
    await expect(store.put(name, body, never)).rejects.toMatchObject({ code: 'STORAGE_TAKEN' })
  })

  test('a directory that someone removed is made again', async () => {
    await using directory = await temporaryDirectory()
    const store = new LocalStore(directory.path, systemEnvironment)
    await store.put(name, body, never)
    await fs.rm(`${directory.path}/data`, { recursive: true })
    await expect(store.put(name, body, never)).rejects.toMatchObject({ code: 'STORAGE_IO' })
    await store.put(name, body, never)
    expect(await whole(store, name)).toEqual(body)
  })
})

describe('when the writer is killed', () => {
  test.each([1, 6, 15])(
    'after %i acknowledgements: those are whole, and nothing torn has a name',
    async acknowledged => {
      await using directory = await temporaryDirectory()
      const script = new URL('put-until-killed.ts', import.meta.url).pathname
      const writer = spawn(process.execPath, [script, directory.path], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      const ended = once(writer, 'exit')
      const names: string[] = []
      for await (const line of readline.createInterface({ input: writer.stdout })) {
        names.push(line)
        if (names.length === acknowledged) writer.kill('SIGKILL')
      }
      expect(await ended).toEqual([null, 'SIGKILL'])
      const store = new LocalStore(directory.path, systemEnvironment)
      const present = await collect(store, 'data')
      for (const { name } of present)
        expect(
          createHash('sha256')
            .update(await whole(store, name))
            .digest('hex'),
        ).toBe(name.slice(5))
      expect(present.map(({ name }) => String(name))).toEqual(expect.arrayContaining(names))
    },
  )
})

const mountable = (() => {
  try {
    execFileSync('unshare', ['--mount', 'mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', '/mnt'], {
      stdio: 'ignore',
    })
    return true
  } catch {
    return false
  }
})()

describe.skipIf(!mountable)('on a file system of 256 KiB', () => {
  test('stores what fits, says that it is full, and leaves no temporary files', async () => {
    await using directory = await temporaryDirectory()
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'none', directory.path])
    try {
      const store = new LocalStore(directory.path, systemEnvironment)
      const objects = Array.from({ length: 8 }, (_, index) => someObject(`fills ${index}`, 50_000))
      const results = await Promise.allSettled(objects.map(({ name, body }) => store.put(name, body, never)))
      const stored = results.filter(result => result.status === 'fulfilled')
      expect(stored.length).toBeGreaterThan(0)
      expect(stored.length).toBeLessThan(objects.length)
      for (const result of results)
        if (result.status === 'rejected')
          expect(result.reason).toMatchObject({ code: 'STORAGE_FULL', retry: false })
      expect(await temporaries(directory.path)).toEqual([])
      expect(await collect(store, 'data')).toHaveLength(stored.length)
      for (const [index, { name, body }] of objects.entries())
        if (results[index]?.status === 'fulfilled') expect(await whole(store, name)).toEqual(body)
    } finally {
      execFileSync('umount', [directory.path])
    }
  })
})
