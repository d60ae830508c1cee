import { readFile } from 'node:fs/promises'
import { afterEach, describe, expect, onTestFailed, test } from 'vitest'
import { parseVmName, type VmName } from '../../src/base/names.ts'
import type { Extent, FrozenVolume, VolumeSource, VolumeState } from '../../src/host/volumes.ts'

export const never = new AbortController().signal
const block = 4096

/** A volume as its VM sees it. Nothing is synced. */
export interface LiveVolume {
  write(bytes: Uint8Array, offset: number): Promise<void>
  /** Gives the range up: it reads as zeros from now on. */
  punch(offset: number, length: number): Promise<void>
  resize(bytes: number): Promise<void>
  /** Puts another file or device, with the same content, in its place. */
  replace(): Promise<void>
}

/** A source with one VM that has the volumes `private`, empty, and `other`. */
export interface VolumesUnderTest extends AsyncDisposable {
  readonly source: VolumeSource
  readonly vm: VmName
  readonly live: LiveVolume
  readonly bytes: number
  /** Lets the volume come to rest, so that the host may vouch for its state. */
  rest(): Promise<void>
  /** How often things are tried by lot. */
  readonly rounds: number
  readonly tells: {
    readonly holes: boolean
    /** Of a volume that was written to in parts: which parts stayed the same. */
    readonly changes: boolean
    /** Of a volume that nobody wrote to: that it stayed the same. */
    readonly rest: boolean
  }
}

/** What a volume was at one moment: all its bytes, and the state that the source gave. */
interface Moment {
  readonly content: Buffer
  readonly state: VolumeState | null
}

/** What every source of volumes keeps to; every implementation runs it. */
export function describeVolumeSource(title: string, make: () => Promise<VolumesUnderTest>): void {
  describe(`${title} keeps the contract of a source of volumes`, () => {
    let opened: VolumesUnderTest | null = null
    const open = async () => {
      opened = await make()
      return opened
    }
    afterEach(async () => {
      await opened?.[Symbol.asyncDispose]()
      opened = null
    })
    describeHoles(open)
    describeChanges(open)
    describeStates(open)
  })
}

type Open = () => Promise<VolumesUnderTest>

/** Numbers below a limit by lot, the same again for the same seed, which is shown when a test fails. */
function dice(): (limit: number) => number {
  const seed = Number(process.env.SEED ?? Date.now()) >>> 0
  onTestFailed(() => console.error(`again with SEED=${seed}`))
  let state = seed
  return limit => {
    state = (Math.imul(state ^ (state >>> 15), 0x2c1b3c6d) + 0x9e3779b9) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}

function describeHoles(open: Open): void {
  test('covers an untouched volume, which is zeros', async () => {
    const { source, vm, bytes, tells } = await open()
    await using frozen = await source.freeze(vm, never)
    const extents = await checkedExtents(volumeOf(frozen), null)
    expect((await contentOf(volumeOf(frozen))).equals(Buffer.alloc(bytes))).toBe(true)
    if (tells.holes) expect(extents).toEqual([{ kind: 'hole', offset: 0, length: bytes }])
  })

  test('never takes for a hole what was written a moment ago', async () => {
    const { source, vm, live, bytes, rounds } = await open()
    const randomInt = dice()
    for (let round = 0; round < rounds; round++) {
      await live.write(filled(3 * block, round), randomInt(bytes / block - 3) * block)
      await live.write(filled(100, round), randomInt(bytes - 100))
      await using frozen = await source.freeze(vm, never)
      await checkedExtents(volumeOf(frozen), null)
    }
  })

  test('tells holes apart from data', async () => {
    const { source, vm, live, bytes, tells } = await open()
    await live.write(filled(1024 * 1024, 1), 1024 * 1024)
    await live.punch(1024 * 1024 + 256 * 1024, 512 * 1024)
    await using frozen = await source.freeze(vm, never)
    const extents = await checkedExtents(volumeOf(frozen), null)
    const kiB = 1024
    if (tells.holes)
      expect(extents.map(({ kind, length }) => [kind, length / kiB])).toEqual([
        ['hole', kiB],
        ['data', 256],
        ['hole', 512],
        ['data', 256],
        ['hole', bytes / kiB - 2 * kiB],
      ])
  })
}

function describeChanges(open: Open): void {
  test('calls unchanged only what is, whatever was done meanwhile', async () => {
    const under = await open()
    const { source, vm, live, bytes, rounds } = under
    const randomInt = dice()
    await live.write(filled(bytes / 2, 99), bytes / 8)
    const moments: Moment[] = []
    let unchanged = 0
    for (let round = 0; round < rounds; round++) {
      await under.rest()
      const frozen = await source.freeze(vm, never)
      const volume = volumeOf(frozen)
      const content = await contentOf(volume)
      for (const { state, content: before } of moments.slice(-3))
        unchanged += unchangedBytes(await checkedExtents(volume, state, before))
      // Some backups fail after they have read all, and some keep nothing.
      const fate = round === 0 ? 0 : randomInt(4)
      await using kept = frozen.keep(fate === 3 ? [] : [volume.name])
      await frozen[Symbol.asyncDispose]()
      if (fate !== 2) await kept.commit()
      moments.push({ content, state: volume.state })
      await changeSomehow(live, bytes, round, randomInt)
    }
    if (under.tells.changes) expect(unchanged).toBeGreaterThan(bytes)
  })

  test('tells what stayed the same since the last committed backup', async () => {
    const under = await open()
    const { source, vm, live, bytes, tells } = under
    await live.write(filled(bytes / 2, 7), 0)
    const first = await backup(under)
    await live.write(filled(block, 8), 1024 * 1024)
    await live.punch(2 * 1024 * 1024, 1024 * 1024)
    await using frozen = await source.freeze(vm, never)
    const extents = await checkedExtents(volumeOf(frozen), first.state, first.content)
    if (!tells.changes) return expect(unchangedBytes(extents)).toBe(0)
    expect(unchangedBytes(extents)).toBeGreaterThan(bytes / 2 - 1024 * 1024 - 256 * 1024)
    expect(extents.filter(({ kind }) => kind === 'data')).toHaveLength(1)
    expect(extents.filter(({ kind }) => kind === 'hole').map(({ length }) => length)).toEqual([
      1024 * 1024,
      bytes / 2,
    ])
  })

  test('tells that nothing happened at all', async () => {
    const under = await open()
    await under.live.write(filled(under.bytes / 2, 7), 0)
    await under.rest()
    const { state, content } = await backup(under)
    await under.rest()
    await using frozen = await under.source.freeze(under.vm, never)
    const extents = await checkedExtents(volumeOf(frozen), state, content)
    const data = extents.filter(({ kind }) => kind === 'data')
    if (under.tells.rest) expect(data).toEqual([])
  })

  test('keeps what was kept when a backup is not committed', async () => {
    const under = await open()
    const { source, vm, live, bytes, tells } = under
    await live.write(filled(bytes / 2, 7), 0)
    const first = await backup(under)
    await live.write(filled(block, 8), 0)
    {
      await using failed = await source.freeze(vm, never)
      await using _ = failed.keep(['private'])
    }
    await using frozen = await source.freeze(vm, never)
    const extents = await checkedExtents(volumeOf(frozen), first.state, first.content)
    if (tells.changes) expect(unchangedBytes(extents)).toBeGreaterThan(bytes / 4)
  })
}

function describeStates(open: Open): void {
  test('gives a state that is small and survives as JSON', async () => {
    const under = await open()
    const { state, content } = await backup(under)
    if (!under.tells.changes && !under.tells.rest) return expect(state).toBeNull()
    const text = JSON.stringify(state)
    expect(Buffer.byteLength(text)).toBeLessThanOrEqual(4096)
    await using frozen = await under.source.freeze(under.vm, never)
    await checkedExtents(volumeOf(frozen), JSON.parse(text) as VolumeState, content)
  })

  test('takes a state that is not of this volume for none', async () => {
    const under = await open()
    const { source, vm, live, bytes } = under
    await live.write(filled(bytes / 2, 7), 0)
    await under.rest()
    const { state, others } = await backup(under)
    await using frozen = await source.freeze(vm, never)
    const volume = volumeOf(frozen)
    const plain = await checkedExtents(volume, null)
    for (const foreign of [...hostileStates(state), ...others])
      expect(await checkedExtents(volume, foreign)).toEqual(plain)
  })

  test('takes a state of another size for none', async () => {
    const under = await open()
    const { source, vm, live, bytes } = under
    await live.write(filled(bytes / 2, 7), 0)
    const { state } = await backup(under)
    await live.resize(bytes * 2)
    await using frozen = await source.freeze(vm, never)
    const extents = await checkedExtents(volumeOf(frozen), state)
    expect(unchangedBytes(extents)).toBe(0)
  })

  test('finds a volume that was replaced', async () => {
    const under = await open()
    await under.live.write(filled(under.bytes / 2, 7), 0)
    await under.rest()
    const { state, content } = await backup(under)
    await under.live.replace()
    await under.live.write(filled(block, 9), 5 * block)
    await using frozen = await under.source.freeze(under.vm, never)
    await checkedExtents(volumeOf(frozen), state, content)
  })

  test('does nothing for a signal that is aborted already', async () => {
    const { source, vm } = await open()
    await using frozen = await source.freeze(vm, never)
    const reason = new Error('the caller has had enough')
    const iterator = volumeOf(frozen).extents(null, AbortSignal.abort(reason))[Symbol.asyncIterator]()
    await expect(iterator.next()).rejects.toBe(reason)
    const freezing = source.freeze(vm, AbortSignal.abort(reason))
    await expect(freezing).rejects.toBe(reason)
  })

  test('refuses a VM that is not there', async () => {
    const { source } = await open()
    const freezing = source.freeze(parseVmName('nosuch'), never)
    await expect(freezing).rejects.toMatchObject({ code: 'VM_MISSING' })
  })
}

/** Forged, cut, foreign and oversized states; each should be taken for none. */
function hostileStates(state: VolumeState | null): readonly VolumeState[] {
  const { source, mark } = state ?? { source: 'file work/private', mark: '{}' }
  return [
    { source: 'elsewhere', mark },
    { source: `${source} `, mark },
    { source: '', mark: '' },
    { source, mark: '' },
    { source, mark: mark.slice(0, -1) },
    { source, mark: `${mark} ${mark}` },
    { source, mark: 'x'.repeat(10_000_000) },
    { source, mark: '{"__proto__":null}' },
    { source, mark: mark.replaceAll(/[0-9]/g, digit => String((Number(digit) + 1) % 10)) },
    { source, mark: mark.replaceAll(/"[^"]*"/g, '"../../etc/passwd"') },
    { source, mark: 'null' },
    { source, mark: '[]' },
  ]
}

/** A whole backup: freeze, read, keep, thaw, commit. */
async function backup({ source, vm }: VolumesUnderTest): Promise<Moment & { others: VolumeState[] }> {
  const frozen = await source.freeze(vm, never)
  const volume = volumeOf(frozen)
  const content = await contentOf(volume)
  const { state } = volume
  const others = frozen.volumes.flatMap(one => (one === volume || one.state === null ? [] : [one.state]))
  await using kept = frozen.keep(frozen.volumes.map(({ name }) => name))
  await frozen[Symbol.asyncDispose]()
  await kept.commit()
  return { content, state, others }
}

async function changeSomehow(
  live: LiveVolume,
  bytes: number,
  round: number,
  randomInt: (limit: number) => number,
): Promise<void> {
  for (let change = randomInt(6); change > 0; change--) {
    const offset = randomInt(bytes)
    const length = Math.min(bytes - offset, 1 + randomInt(300_000))
    const kind = randomInt(12)
    if (kind < 8) await live.write(filled(length, round * 10 + change), offset)
    else if (kind < 10) await live.punch(offset, length)
    else if (kind < 11) {
      await live.resize(bytes / 2)
      await live.resize(bytes)
    } else await live.replace()
  }
}

export function volumeOf({ volumes }: { readonly volumes: readonly FrozenVolume[] }): FrozenVolume {
  const volume = volumes.find(({ name }) => name === 'private')
  if (volume === undefined) throw new Error('no volume')
  return volume
}

const contents = new WeakMap<FrozenVolume, Buffer>()

/** All bytes of a frozen volume, read once. */
export async function contentOf(volume: FrozenVolume): Promise<Buffer> {
  const content = contents.get(volume) ?? (await readFile(volume.path))
  expect(content.byteLength).toBe(volume.bytes)
  contents.set(volume, content)
  return content
}

/**
 * The extents, after it was checked that they ascend without gaps and cover the volume, that holes are zeros, and that
 * what is unchanged has the bytes of `before`.
 */
export async function checkedExtents(
  volume: FrozenVolume,
  since: VolumeState | null,
  before?: Buffer,
): Promise<readonly Extent[]> {
  const content = await contentOf(volume)
  const extents: Extent[] = []
  let end = 0
  for await (const extent of volume.extents(since, never)) {
    const { kind, offset, length } = extent
    expect(offset).toBe(end)
    expect(length).toBeGreaterThan(0)
    end += length
    const part = content.subarray(offset, end)
    if (kind === 'hole') expect(part.equals(Buffer.alloc(length)), `a hole at ${offset}`).toBe(true)
    if (kind === 'unchanged') {
      expect(before, 'unchanged since nothing').toBeDefined()
      expect(before?.subarray(offset, end).equals(part), `unchanged at ${offset}`).toBe(true)
    }
    extents.push(extent)
  }
  expect(end).toBe(volume.bytes)
  return extents
}

export function unchangedBytes(extents: readonly Extent[]): number {
  return extents.reduce((sum, { kind, length }) => sum + (kind === 'unchanged' ? length : 0), 0)
}

/** Bytes that are not zero, and that depend on `seed`. */
export function filled(length: number, seed: number): Buffer {
  return Buffer.alloc(
    length,
    Buffer.from(Array.from({ length: 251 }, (_, index) => 1 + ((index * 7 + seed * 31) % 255))),
  )
}
