import { createHash, randomBytes } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { MiB } from '../../src/base/bytes.ts'
import { parseIdempotencyKey } from '../../src/base/names.ts'
import type { FrozenVolume, VolumeSource, VolumeState } from '../../src/host/volumes.ts'
import { type EngineBench, makeBench, mgmt } from '../support/engine.ts'

/* Two backups of a host that tells what has changed between them. */

let bench: EngineBench
let asked: (VolumeState | null)[]
/** What the host says of the volume of `work` when it is asked with its last state. */
let says: 'data' | 'unchanged'
let states: number

beforeEach(async () => {
  bench = await makeBench()
  asked = []
  says = 'unchanged'
  states = 0
  await writeFile(image(), randomBytes(4 * MiB))
  const honest = bench.ports.volumes
  const telling: VolumeSource = {
    async freeze(vm, signal) {
      const frozen = await honest.freeze(vm, signal)
      return {
        vm: frozen.vm,
        volumes: vm === 'work' ? frozen.volumes.map(told) : frozen.volumes,
        keep: names => frozen.keep(names),
        [Symbol.asyncDispose]: () => frozen[Symbol.asyncDispose](),
      }
    },
  }
  Object.assign(bench.ports, { volumes: telling })
  await bench.restart()
})
afterEach(() => bench[Symbol.asyncDispose]())

const image = () => path.join(bench.machine, 'work', 'private.img')

function told(volume: FrozenVolume): FrozenVolume {
  const { name, bytes, path } = volume
  const state = { source: 'test', mark: String(states++) }
  return {
    name,
    bytes,
    path,
    state,
    async *extents(since) {
      asked.push(since)
      const knows = since?.source === 'test' && since.mark === String(states - 2)
      yield { kind: knows ? says : 'data', offset: 0, length: bytes }
    },
  }
}

let keys = 0
async function backup() {
  const key = parseIdempotencyKey(`key-${String(++keys).padStart(8, '0')}`)
  const order = { kind: 'backup', profile: bench.profile, initiator: mgmt, key, ifRunning: 'refuse' } as const
  const job = await bench.orders.order(order)
  return bench.orders.ended(job.id)
}

it('asks with the state of the last snapshot, and stores nothing of what is unchanged', async () => {
  expect((await backup()).state).toBe('done')
  const second = await backup()
  expect(second).toMatchObject({ state: 'done', error: null })
  expect(second.outcome?.bytesStored).toBeLessThan(10_000)
  expect(asked).toEqual([null, { source: 'test', mark: '0' }])
})

it('a host that was wrong fails the job that finds it, and is not believed by the next', async () => {
  expect((await backup()).state).toBe('done')
  // Every chunk is another: whichever is sampled shows it.
  await writeFile(image(), randomBytes(4 * MiB))
  expect(await backup()).toMatchObject({ state: 'failed', error: { code: 'CHANGES_MISSED' } })
  const third = await backup()
  expect(third.state).toBe('done')
  expect(third.outcome?.bytesStored).toBeGreaterThan(4 * MiB)
  expect(asked.at(-1)).toBeNull()
})

it('an interrupted backup leaves nothing to the next', async () => {
  const before = createHash('sha256')
    .update(await readFile(image()))
    .digest('hex')
  bench.storage.faults = {
    before: (operation, subject) => {
      if (operation === 'put' && subject.startsWith('index/')) throw new Error('planted')
    },
  }
  expect((await backup()).state).toBe('failed')
  bench.storage.faults = {}
  expect((await backup()).state).toBe('done')
  expect(asked).toEqual([null, null])
  expect(
    createHash('sha256')
      .update(await readFile(image()))
      .digest('hex'),
  ).toBe(before)
})
