import { cp, mkdir, rm, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Untrusted } from '../../src/base/untrusted.ts'
import { anchorCounter, type MonotonicCounter, readCounterBase } from '../../src/sealing/counter.ts'
import { encodePin } from '../../src/sealing/pin.ts'
import { FileSealedStore, type SealedStoreOptions } from '../../src/sealing/store.ts'
import { encodeUpdate } from '../../src/sealing/update.ts'
import { codeOf } from '../support/code-of.ts'
import { clock, firstFiles, next, signal, temporaryDirectory, twoVersions } from './fixture.ts'

/** What a TPM keeps: it can only go up. */
class Counter implements MonotonicCounter {
  value: number
  /** Fails at the next increment, as when the power goes. */
  fails = false

  constructor(value: number) {
    this.value = value
  }
  async read(): Promise<number> {
    return this.value
  }
  async increment(): Promise<number> {
    if (this.fails) throw new Error('power cut')
    this.value += 1
    return this.value
  }
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>
let made: Awaited<ReturnType<typeof twoVersions>>
let counter: Counter
let anchored: NonNullable<SealedStoreOptions<unknown>['counter']>

beforeEach(async () => {
  directory = await temporaryDirectory()
  made = await twoVersions()
  counter = new Counter(41)
  anchored = { counter, basePath: directory.at('disk/counter.json'), signal }
  await mkdir(directory.at('disk'))
  await writeFile(options().pin, encodePin(made.pin))
  await FileSealedStore.install(options(), whole())
  await anchorCounter(anchored, 1)
})
afterEach(() => directory[Symbol.asyncDispose]())

const whole = () => new Untrusted(encodeUpdate(made.first.files))
const second = () => new Untrusted(made.second.update)
const parseConfiguration = (files: ReadonlyMap<string, Uint8Array>) => files.size
function options() {
  return {
    store: directory.at('disk/store'),
    pin: directory.at('disk/pin.json'),
    floor: directory.at('disk/floor.json'),
    parseConfiguration,
    clock,
  }
}
const open = () => FileSealedStore.open({ ...options(), counter: anchored })
const image = async () =>
  cp(directory.at('disk'), directory.at('image'), { recursive: true, verbatimSymlinks: true })
async function putBack() {
  await rm(directory.at('disk'), { recursive: true })
  await cp(directory.at('image'), directory.at('disk'), { recursive: true, verbatimSymlinks: true })
}

describe('a counter outside the disk', () => {
  test('stands for the version, start after start, update after update', async () => {
    await open()
    await (await open()).admit(second())
    expect(counter.value).toBe(42)
    expect((await open()).current().version).toBe(2)
    expect(counter.value).toBe(42)
  })

  test('notices a whole disk that was put back', async () => {
    await image()
    await (await open()).admit(second())
    await putBack()
    // Without the counter nobody would: store, floor and pin agree with each other.
    expect((await FileSealedStore.open(options())).current().version).toBe(1)
    expect(await codeOf(open)).toBe('SEAL_COUNTER_PASSED')
    await (await FileSealedStore.open(options())).admit(second())
    expect((await open()).current().version).toBe(2)
  })

  test('is counted at the next start after a crash between the store and the counter', async () => {
    const store = await open()
    counter.fails = true
    await expect(store.admit(second())).rejects.toThrow('power cut')
    counter.fails = false
    expect((await open()).current().version).toBe(2)
    expect(counter.value).toBe(42)
  })

  test('follows updates that were installed without it', async () => {
    await (await FileSealedStore.open(options())).admit(second())
    expect((await open()).current().version).toBe(2)
    expect(counter.value).toBe(42)
  })

  test('of a TPM that was cleared or replaced is told from an old disk', async () => {
    counter.value = 3
    expect(await codeOf(open)).toBe('SEAL_COUNTER_LOST')
    await anchorCounter(anchored, 1)
    expect((await open()).current().version).toBe(1)
    expect(await readCounterBase(anchored.basePath)).toBe(2)
  })

  test('that does not count is given up', async () => {
    let asked = 0
    const stuck = {
      read: async () => 41,
      increment: async () => {
        asked += 1
        if (asked > 20) throw new Error('asked again and again')
        return 41
      },
    }
    await (await FileSealedStore.open(options())).admit(second())
    const opened = FileSealedStore.open({ ...options(), counter: { ...anchored, counter: stuck } })
    expect(await codeOf(() => opened)).toBe('SEAL_COUNTER_LOST')
    expect((await open()).current().version).toBe(2)
  })

  test('whose base is gone, or makes no sense, is not begun anew by itself', async () => {
    await writeFile(anchored.basePath, '{"v":1,"type":"counter","base":"0"}')
    expect(await codeOf(open)).toBe('SEAL_COUNTER_UNANCHORED')
    await rm(anchored.basePath)
    expect(await codeOf(open)).toBe('SEAL_COUNTER_UNANCHORED')
    expect(counter.value).toBe(41)
  })

  test('refuses the whole of an older update history: version three put back to one', async () => {
    await image()
    const store = await open()
    await store.admit(second())
    const third = await next(made.second.files, made.pin, firstFiles)
    await store.admit(new Untrusted(third.update))
    expect(counter.value).toBe(43)
    await putBack()
    expect(await codeOf(open)).toBe('SEAL_COUNTER_PASSED')
  })
})
