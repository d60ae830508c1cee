import { execFileSync } from 'node:child_process'
import fs from 'node:fs/promises'
import path from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { silentLog } from '../../src/base/log.ts'
import { parseRepositoryName } from '../../src/base/names.ts'
import { StorageError } from '../../src/storage/errors.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { type ObjectName, type ObjectStore, parseObjectName } from '../../src/storage/object-store.ts'
import { type ScrubPorts, scrub } from '../../src/storage/scrub.ts'
import type { ScrubProgress } from '../../src/storage/scrub-lines.ts'
import { type ScrubMemory, type ScrubState, scrubMemory } from '../../src/storage/scrub-memory.ts'
import { MemoryLog } from '../api/harness.ts'
import { never, someObject } from '../contract/object-store.ts'
import { MemoryStore } from '../support/memory-store.ts'
import { SleepingClock, temporaryDirectory } from './support.ts'

const MiB = 1024 * 1024
const config = parseObjectName('config')

/** A position that is kept in a variable. */
class Remembered implements ScrubMemory {
  state: ScrubState | null = null
  saves = 0
  load = async () => this.state
  async save(state: ScrubState): Promise<void> {
    this.saves += 1
    this.state = state
  }
  async clear(): Promise<void> {
    this.state = null
  }
}

function ports(more: Partial<ScrubPorts> = {}): ScrubPorts {
  return {
    clock: new SleepingClock(),
    log: silentLog,
    memory: new Remembered(),
    bytesPerSecondMax: null,
    onProgress() {},
    ...more,
  }
}

/** `count` objects of several kinds, and a config. */
async function filled(count: number, store = new MemoryStore()): Promise<MemoryStore> {
  const kinds = ['data', 'data', 'index', 'snapshots', 'keys', 'locks'] as const
  for (let index = 0; index < count; index++) {
    const { name, body } = someObject(`object ${index}`, 100 + index, kinds[index % kinds.length])
    await store.put(name, body, never)
  }
  await store.put(config, new Uint8Array([1, 2, 3]), never)
  return store
}

const sorted = (store: MemoryStore): ObjectName[] =>
  [...store.objects.keys()].filter(name => name !== config).sort()
const bytesOf = (store: MemoryStore) => store.bytesStored - 3

describe('a scrub', () => {
  test('hashes every object whose name is a hash, once', async () => {
    const store = await filled(12)
    const seen: ScrubProgress[] = []
    const report = await scrub(store, ports({ onProgress: progress => seen.push(progress) }), never)
    expect(report).toEqual({ objects: 12, bytes: bytesOf(store), damaged: 0, findings: [] })
    expect(store.calls).toMatchObject({ get: 12, remove: 0 })
    const whole = { objectsTotal: 12, bytesTotal: bytesOf(store) }
    expect(seen.at(-1)).toEqual({ ...whole, objectsDone: 12, bytesDone: bytesOf(store) })
    expect(seen.map(({ bytesDone }) => bytesDone)).toEqual(
      seen.map(({ bytesDone }) => bytesDone).toSorted((a, b) => a - b),
    )
  })

  test('names what was changed, cut short, made longer or emptied, of every kind', async () => {
    const store = await filled(12)
    const [a, b, c, d] = sorted(store).filter((_, index) => index % 3 === 0)
    if (a === undefined || b === undefined || c === undefined || d === undefined) throw new Error('too few')
    store.damage(a, 50)
    store.objects.set(b, store.body(b).slice(0, -1))
    store.objects.set(c, Buffer.concat([store.body(c), new Uint8Array(1)]))
    store.objects.set(d, new Uint8Array(0))
    const report = await scrub(store, ports(), never)
    expect(report.damaged).toBe(4)
    expect(report.findings).toEqual([a, b, c, d].map(name => ({ name, fault: 'content' })))
  })

  test('names what the disk does not give back, and goes on', async () => {
    const store = await filled(6)
    const bad = sorted(store)[2] as ObjectName
    store.faults.before = (operation, name) => {
      if (operation === 'get' && name === bad) throw new StorageError('STORAGE_IO', 'EIO')
    }
    const report = await scrub(store, ports(), never)
    expect(report).toMatchObject({ objects: 6, damaged: 1, findings: [{ name: bad, fault: 'unreadable' }] })
  })

  test('takes an object that was removed meanwhile for nothing', async () => {
    const store = await filled(6)
    const [atHead, atGet] = sorted(store)
    store.faults.before = (operation, name) => {
      if (operation === 'head' && name === atHead) store.objects.delete(atHead)
      if (operation === 'get' && name === atGet) store.objects.delete(atGet)
    }
    expect(await scrub(store, ports(), never)).toMatchObject({ objects: 6, damaged: 0 })
  })

  test('of a large object holds a piece of it, and finds a flip in the last byte', async () => {
    const store = new MemoryStore()
    const { name, body } = someObject('large', 3 * MiB + 7)
    await store.put(name, body, never)
    let largest = 0
    const watched: ObjectStore = {
      ...bound(store),
      async get(one, range, signal) {
        largest = Math.max(largest, range === 'whole' ? Number.POSITIVE_INFINITY : range.length)
        return store.get(one, range, signal)
      },
    }
    expect(await scrub(watched, ports(), never)).toMatchObject({ damaged: 0, bytes: 3 * MiB + 7 })
    store.damage(name, -1)
    expect(await scrub(watched, ports(), never)).toMatchObject({ damaged: 1 })
    expect(largest).toBeLessThanOrEqual(MiB)
  })

  test('reads no faster than it may', async () => {
    const store = new MemoryStore()
    for (let index = 0; index < 4; index++) {
      const { name, body } = someObject(`paced ${index}`, 2 * MiB)
      await store.put(name, body, never)
    }
    const clock = new SleepingClock()
    const before = clock.monotonic()
    await scrub(store, ports({ clock, bytesPerSecondMax: MiB }), never)
    // The last piece need not be waited for.
    expect(clock.monotonic() - before).toBe(7000)
    expect(Math.max(...clock.sleeps)).toBe(1000)
  })

  test('names the first hundred', async () => {
    const store = await filled(130)
    for (const name of sorted(store)) store.damage(name)
    const report = await scrub(store, ports(), never)
    expect(report).toMatchObject({ objects: 130, damaged: 130 })
    expect(report.findings.map(({ name }) => name)).toEqual(sorted(store).slice(0, 100))
  })
})

describe('a scrub that was stopped', () => {
  test('is continued: each object is hashed once, and the report is that of one run', async () => {
    const objects = 10
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.nat(objects - 1), { maxLength: 4 }),
        fc.array(fc.integer({ min: 1, max: objects }), { minLength: 1, maxLength: 4 }),
        async (damaged, stops) => {
          const store = await filled(objects)
          for (const index of damaged) store.damage(sorted(store)[index] as ObjectName)
          const expected = await scrub(store, ports(), never)
          const memory = new Remembered()
          const looked: ObjectName[] = []
          for (const stop of stops) {
            const abort = new AbortController()
            let left = stop
            store.faults.before = (operation, name) => {
              if (operation !== 'head') return
              if (left-- <= 0) abort.abort(new Error('enough'))
              else looked.push(name as ObjectName)
            }
            const run = scrub(store, ports({ memory }), abort.signal)
            await run.catch(error => expect(error).toMatchObject({ message: 'enough' }))
            if (memory.state !== null) continue
            expect(await run).toEqual(expected)
            return
          }
          store.faults.before = (operation, name) => {
            if (operation === 'head') looked.push(name as ObjectName)
          }
          expect(await scrub(store, ports({ memory }), never)).toEqual(expected)
          const right = looked.filter(name => !expected.findings.some(finding => finding.name === name))
          expect(right.toSorted()).toEqual(sorted(store).filter((_, index) => !damaged.includes(index)))
        },
      ),
      { numRuns: 60 },
    )
  })

  test('does not repeat what was put right since', async () => {
    const store = await filled(8)
    const [first, second] = sorted(store) as [ObjectName, ObjectName]
    store.damage(first)
    store.damage(second)
    const memory = new Remembered()
    await stoppedAt(store, memory, 5)
    expect(memory.state).toMatchObject({ after: sorted(store)[4], damaged: 2 })
    store.damage(first)
    const report = await scrub(store, ports({ memory }), never)
    expect(report).toMatchObject({ objects: 8, damaged: 1, findings: [{ name: second }] })
    expect(memory.state).toBeNull()
  })

  test('begins anew when it had found more than it could name', async () => {
    const store = await filled(130)
    for (const name of sorted(store)) store.damage(name)
    const memory = new Remembered()
    await stoppedAt(store, memory, 120)
    expect(memory.state).toMatchObject({ damaged: 120 })
    expect(await scrub(store, ports({ memory }), never)).toMatchObject({ objects: 130, damaged: 130 })
  })

  test('by a storage that is away for a moment keeps its position', async () => {
    const store = await filled(8)
    const memory = new Remembered()
    const passing = new StorageError('STORAGE_IO', 'EMFILE', { retry: true })
    let heads = 0
    store.faults.before = operation => {
      if (operation === 'get' && ++heads === 4) throw passing
    }
    await expect(scrub(store, ports({ memory }), never)).rejects.toBe(passing)
    expect(memory.state).toMatchObject({ objects: 3, damaged: 0 })
    expect(await scrub(store, ports({ memory }), never)).toMatchObject({ objects: 8, damaged: 0 })
  })

  test('is saved as it goes, so that a kill costs a few seconds', async () => {
    const store = await filled(40)
    const memory = new Remembered()
    await scrub(store, ports({ memory, bytesPerSecondMax: 100 }), never)
    // About a second an object, and a save every five seconds.
    expect(memory.saves).toBeGreaterThan(6)
  })
})

describe('the position of a scrub', () => {
  const name = parseRepositoryName('nightly.e1')

  test('lies beside the repositories, and goes with the end', async () => {
    await using directory = await temporaryDirectory()
    const root = path.join(directory.path, name)
    const store = new LocalStore(root, systemEnvironment)
    const objects = [someObject('one'), someObject('two')]
    for (const { name: object, body } of objects) await store.put(object, body, never)
    const before = await fs.readdir(root, { recursive: true })
    const memory = scrubMemory(directory.path, name, silentLog)
    await memory.save({ after: objects[0]?.name ?? null, objects: 1, bytes: 1000, damaged: 0, findings: [] })
    expect(await fs.readdir(path.join(directory.path, '.scrub'))).toEqual(['nightly.e1.json'])
    expect(await memory.load()).toMatchObject({ objects: 1, after: objects[0]?.name })
    await scrub(store, ports({ memory }), never)
    expect(await memory.load()).toBeNull()
    expect(await fs.readdir(root, { recursive: true })).toEqual(before)
  })

  test('that does not read is told and forgotten', async () => {
    await using directory = await temporaryDirectory()
    const log = new MemoryLog()
    const memory = scrubMemory(directory.path, name, log)
    await fs.mkdir(path.join(directory.path, '.scrub'))
    for (const text of ['', '{', '{"after":"../config"}', 'x'.repeat(70_000)]) {
      await fs.writeFile(path.join(directory.path, '.scrub', 'nightly.e1.json'), text)
      expect(await memory.load()).toBeNull()
    }
    expect(log.lines.map(({ level }) => level)).toEqual(['warn', 'warn', 'warn', 'warn'])
  })

  test('that cannot be kept stops nothing: a disk that takes no writes is the one to be read', async () => {
    const store = await filled(20)
    const log = new MemoryLog()
    const memory = new Remembered()
    memory.save = async () => Promise.reject(new Error('EROFS'))
    memory.clear = async () => Promise.reject(new Error('EROFS'))
    const report = await scrub(store, ports({ memory, log, bytesPerSecondMax: 50 }), never)
    expect(report).toMatchObject({ objects: 20, damaged: 0 })
    expect(log.lines).toHaveLength(2)
  })
})

test('real files: nothing is changed, and a byte flipped behind the storage’s back is found', async () => {
  await using directory = await temporaryDirectory()
  const store = new LocalStore(directory.path, systemEnvironment)
  for (let index = 0; index < 5; index++) {
    const { name, body } = someObject(`file ${index}`, 2 * MiB)
    await store.put(name, body, never)
  }
  const { name, body } = someObject('file 3', 2 * MiB)
  const file = path.join(directory.path, 'data', name.slice(5, 7), name.slice(5))
  await fs.chmod(file, 0o600)
  body[1_500_000] = (body[1_500_000] ?? 0) ^ 0x10
  await fs.writeFile(file, body)
  const listing = () => execFileSync('find', ['.', '-ls'], { cwd: directory.path, encoding: 'utf8' })
  const before = listing()
  const report = await scrub(store, ports({ clock: systemEnvironment.clock }), never)
  expect(report).toMatchObject({ objects: 5, damaged: 1, findings: [{ name, fault: 'content' }] })
  expect(listing()).toBe(before)
})

/** Stops before the object number `count` is looked at. */
async function stoppedAt(store: MemoryStore, memory: ScrubMemory, count: number): Promise<void> {
  const abort = new AbortController()
  let looked = 0
  store.faults.before = operation => {
    if (operation === 'head' && looked++ === count) abort.abort(new Error('enough'))
  }
  await expect(scrub(store, ports({ memory }), abort.signal)).rejects.toThrow('enough')
  store.faults = {}
}

function bound(store: MemoryStore): ObjectStore {
  return {
    put: store.put.bind(store),
    get: store.get.bind(store),
    head: store.head.bind(store),
    list: store.list.bind(store),
  }
}
