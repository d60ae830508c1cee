import { createHash } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import {
  type ObjectHead,
  type ObjectKind,
  type ObjectName,
  objectName,
  type PrunableObjectStore,
  parseObjectName,
} from '../../src/storage/object-store.ts'

/** A fresh, empty, append-only store, and how to get rid of it. */
export interface StoreUnderTest {
  readonly store: PrunableObjectStore
  close?(): PromiseLike<void>
}

export const never = new AbortController().signal
const config = parseObjectName('config')

export interface TestObject {
  readonly name: ObjectName
  readonly body: Uint8Array
}

export function objectOf(kind: Exclude<ObjectKind, 'config'>, body: Uint8Array): TestObject {
  return { name: objectName(kind, createHash('sha256').update(body).digest('hex')), body }
}

/** An object whose bytes follow from `seed`. */
export function someObject(
  seed: string,
  length = 1000,
  kind: Exclude<ObjectKind, 'config'> = 'data',
): TestObject {
  const body = new Uint8Array(length)
  let state = createHash('sha256').update(seed).digest()
  for (let at = 0; at < length; at += state.byteLength) {
    body.set(state.subarray(0, Math.min(state.byteLength, length - at)), at)
    state = createHash('sha256').update(state).digest()
  }
  return objectOf(kind, body)
}

export async function collect(store: PrunableObjectStore, kind: ObjectKind): Promise<ObjectHead[]> {
  const heads: ObjectHead[] = []
  for await (const head of store.list(kind, never)) heads.push(head)
  return heads.sort((a, b) => (a.name < b.name ? -1 : 1))
}

export async function whole(store: PrunableObjectStore, name: ObjectName): Promise<Uint8Array> {
  return (await store.get(name, 'whole', never)).parse(bytes => new Uint8Array(bytes))
}

/** What every object store keeps to; every implementation and every wrapper runs it. */
export function describeObjectStore(title: string, make: () => Promise<StoreUnderTest>): void {
  describe(`${title} keeps the contract of an object store`, () => {
    let opened: StoreUnderTest | null = null
    const open = async () => {
      opened = await make()
      return opened.store
    }
    afterEach(async () => {
      await opened?.close?.()
      opened = null
    })

    describeReading(open)
    describeWritingOnce(open)
    describeRemoval(open)
    describeAborts(open)
  })
}

type Open = () => Promise<PrunableObjectStore>

function describeReading(open: Open): void {
  test('gives back what was put, of every kind', async () => {
    const store = await open()
    for (const kind of ['keys', 'snapshots', 'index', 'data', 'locks'] as const) {
      const { name, body } = someObject(kind, 3000, kind)
      await store.put(name, body, never)
      expect(await whole(store, name)).toEqual(body)
      expect(await store.head(name, never)).toEqual({ name, bytes: 3000 })
      expect(await collect(store, kind)).toEqual([{ name, bytes: 3000 }])
    }
    await store.put(config, new Uint8Array([1, 2, 3]), never)
    expect(await whole(store, config)).toEqual(new Uint8Array([1, 2, 3]))
    expect(await collect(store, 'config')).toEqual([{ name: config, bytes: 3 }])
  })

  test('keeps empty and large objects', async () => {
    const store = await open()
    for (const { name, body } of [someObject('empty', 0), someObject('large', 1024 * 1024 + 1)]) {
      await store.put(name, body, never)
      expect(Buffer.from(await whole(store, name)).equals(body)).toBe(true)
    }
  })

  test('gives ranges, and refuses those outside of the object', async () => {
    const store = await open()
    const { name, body } = someObject('ranges', 1000)
    await store.put(name, body, never)
    for (const [offset, length] of [
      [0, 1000],
      [0, 1],
      [999, 1],
      [1000, 0],
      [100, 300],
    ] as const) {
      const part = await store.get(name, { offset, length }, never)
      expect(part.parse(bytes => new Uint8Array(bytes))).toEqual(body.subarray(offset, offset + length))
    }
    for (const [offset, length] of [
      [0, 1001],
      [1000, 1],
      [1001, 0],
      [-1, 2],
      [0, -1],
      [0.5, 1],
      [2 ** 53, 1],
      [0, 2 ** 32],
    ] as const)
      await expect(store.get(name, { offset, length }, never)).rejects.toMatchObject({
        code: 'STORAGE_RANGE',
      })
  })

  test('says what is missing', async () => {
    const store = await open()
    const { name } = someObject('absent')
    await expect(store.get(name, 'whole', never)).rejects.toMatchObject({ code: 'STORAGE_MISSING' })
    await expect(store.get(name, { offset: 0, length: 1 }, never)).rejects.toMatchObject({
      code: 'STORAGE_MISSING',
    })
    expect(await store.head(name, never)).toBeNull()
    for (const kind of ['config', 'keys', 'data'] as const) expect(await collect(store, kind)).toEqual([])
  })

  test('lists many objects, each once, and may be left early', async () => {
    const store = await open()
    const objects = Array.from({ length: 1201 }, (_, index) => someObject(`many ${index}`, 20 + (index % 7)))
    await Promise.all(objects.map(({ name, body }) => store.put(name, body, never)))
    const expected = objects.map(({ name, body }) => ({ name, bytes: body.byteLength }))
    expect(await collect(store, 'data')).toEqual(expected.sort((a, b) => (a.name < b.name ? -1 : 1)))
    for await (const head of store.list('data', never)) {
      expect(head.bytes).toBeGreaterThanOrEqual(20)
      break
    }
    expect(await collect(store, 'keys')).toEqual([])
  })

  test('answers many requests at once', async () => {
    const store = await open()
    const objects = Array.from({ length: 100 }, (_, index) => someObject(`at once ${index}`, 500 + index))
    await Promise.all(objects.map(({ name, body }) => store.put(name, body, never)))
    const bodies = await Promise.all(objects.map(({ name }) => whole(store, name)))
    expect(bodies).toEqual(objects.map(({ body }) => body))
  })
}

function describeWritingOnce(open: Open): void {
  test('refuses a body that is not what its name says', async () => {
    const store = await open()
    const { name, body } = someObject('damaged')
    const damaged = body.slice()
    damaged[500] = (damaged[500] ?? 0) ^ 1
    await expect(store.put(name, damaged, never)).rejects.toMatchObject({ code: 'STORAGE_HASH' })
    expect(await store.head(name, never)).toBeNull()
  })

  test('takes the same object twice, and never replaces one', async () => {
    const store = await open()
    const { name, body } = someObject('twice')
    await store.put(name, body, never)
    await store.put(name, body, never)
    await store.put(config, new Uint8Array([1]), never)
    await store.put(config, new Uint8Array([1]), never)
    for (const other of [new Uint8Array([2]), new Uint8Array([1, 1]), new Uint8Array(0)])
      await expect(store.put(config, other, never)).rejects.toMatchObject({ code: 'STORAGE_TAKEN' })
    expect(await whole(store, config)).toEqual(new Uint8Array([1]))
  })

  test('lets one of many writers of the same name win', async () => {
    const store = await open()
    const attempts = Array.from({ length: 8 }, (_, index) =>
      store.put(config, new Uint8Array([index]), never),
    )
    const results = await Promise.allSettled(attempts)
    const winners = results.flatMap((result, index) => (result.status === 'fulfilled' ? [index] : []))
    expect(winners).toHaveLength(1)
    expect(await whole(store, config)).toEqual(new Uint8Array(winners))
    for (const result of results)
      if (result.status === 'rejected') expect(result.reason).toMatchObject({ code: 'STORAGE_TAKEN' })
  })

  test('lets all writers of the same bytes succeed', async () => {
    const store = await open()
    const { name, body } = someObject('same')
    await Promise.all(Array.from({ length: 8 }, () => store.put(name, body, never)))
    expect(await collect(store, 'data')).toEqual([{ name, bytes: body.byteLength }])
  })
}

function describeRemoval(open: Open): void {
  test('removes locks, repeatedly if asked', async () => {
    const store = await open()
    const { name, body } = someObject('lock', 100, 'locks')
    await store.put(name, body, never)
    await store.remove(name, { name, entry: 7 }, never)
    await store.remove(name, { name, entry: 7 }, never)
    expect(await store.head(name, never)).toBeNull()
    await store.put(name, body, never)
    expect(await collect(store, 'locks')).toHaveLength(1)
  })

  test('removes nothing else while it only appends', async () => {
    const store = await open()
    await store.put(config, new Uint8Array([1]), never)
    for (const kind of ['keys', 'snapshots', 'index', 'data'] as const) {
      const { name, body } = someObject(kind, 100, kind)
      await store.put(name, body, never)
      await expect(store.remove(name, { name, entry: 7 }, never)).rejects.toMatchObject({
        code: 'STORAGE_APPEND_ONLY',
      })
      expect(await whole(store, name)).toEqual(body)
    }
    await expect(store.remove(config, { name: config, entry: 7 }, never)).rejects.toMatchObject({
      code: 'STORAGE_APPEND_ONLY',
    })
  })

  test('takes a grant for its own object only', async () => {
    const store = await open()
    const { name, body } = someObject('granted', 100, 'locks')
    await store.put(name, body, never)
    const other = someObject('other', 100, 'locks').name
    for (const grant of [
      { name: other, entry: 7 },
      { name, entry: -1 },
      { name, entry: 0.5 },
    ])
      await expect(store.remove(name, grant, never)).rejects.toMatchObject({ code: 'STORAGE_APPEND_ONLY' })
    expect(await whole(store, name)).toEqual(body)
  })
}

function describeAborts(open: Open): void {
  const reason = new Error('the caller has had enough')

  test('does nothing for a signal that is aborted already', async () => {
    const store = await open()
    const { name, body } = someObject('aborted', 100, 'locks')
    const aborted = AbortSignal.abort(reason)
    await expect(store.put(name, body, aborted)).rejects.toBe(reason)
    await expect(store.get(name, 'whole', aborted)).rejects.toBe(reason)
    await expect(store.head(name, aborted)).rejects.toBe(reason)
    await expect(store.remove(name, { name, entry: 1 }, aborted)).rejects.toBe(reason)
    await expect(store.list('locks', aborted)[Symbol.asyncIterator]().next()).rejects.toBe(reason)
    expect(await store.head(name, never)).toBeNull()
  })

  test('leaves the whole object or none when a put is aborted, and goes on working', async () => {
    const store = await open()
    const objects = Array.from({ length: 12 }, (_, index) => someObject(`cut ${index}`, 200_000))
    await Promise.all(
      objects.map(async ({ name, body }, index) => {
        const abort = new AbortController()
        const attempt = store.put(name, body, abort.signal)
        const outcome = attempt.then(
          () => 'stored',
          error => error,
        )
        for (let turn = 0; turn < index; turn++) await new Promise(resolve => setImmediate(resolve))
        abort.abort(reason)
        expect(['stored', reason]).toContain(await outcome)
      }),
    )
    for (const { name, body } of objects) {
      await store.put(name, body, never)
      expect(Buffer.from(await whole(store, name)).equals(body)).toBe(true)
    }
    expect(await collect(store, 'data')).toHaveLength(objects.length)
  })
}
