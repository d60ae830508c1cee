import { expect, it } from 'vitest'
import { HsmError } from '../../src/hsm/errors.ts'
import { FairTurns } from '../../src/hsm/fair-turns.ts'
import { codeOf } from './support.ts'

async function run(
  turns: FairTurns,
  keys: readonly string[],
): Promise<{ done: string[]; all: Promise<unknown> }> {
  const done: string[] = []
  let running = 0
  const all = Promise.all(
    keys.map((key, index) =>
      turns.run(key, async () => {
        running += 1
        expect(running).toBe(1)
        await new Promise(resolve => setImmediate(resolve))
        done.push(`${key}${index}`)
        running -= 1
      }),
    ),
  )
  return { done, all }
}

it('gives each key its turn, and those of one key in their order', async () => {
  const { done, all } = await run(new FairTurns(), ['a', 'a', 'a', 'a', 'b', 'c', 'b'])
  await all
  expect(done).toEqual(['a0', 'a1', 'b4', 'c5', 'a2', 'b6', 'a3'])
})

it('goes on after a failure, and after all have gone', async () => {
  const turns = new FairTurns()
  const failing = codeOf(() => turns.run('a', () => Promise.reject(new HsmError('HSM_TIMEOUT', 'gone'))))
  const { done, all } = await run(turns, ['a', 'b'])
  await all
  expect([await failing, done]).toEqual(['HSM_TIMEOUT', ['a0', 'b1']])
  await (await run(turns, ['c'])).all
})

it('has no room for more than it can hold, of one and of all', async () => {
  const turns = new FairTurns()
  const { all } = await run(turns, [...Array(33).fill('a'), ...Array(31).fill('b')])
  expect(await codeOf(() => turns.run('a', async () => {}))).toBe('HSM_BUSY')
  const last = turns.run('b', async () => 'served')
  expect(await codeOf(() => turns.run('c', async () => {}))).toBe('HSM_BUSY')
  await all
  expect(await last).toBe('served')
})
