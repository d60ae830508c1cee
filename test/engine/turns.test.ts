import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Serially } from '../../src/base/serially.ts'
import { Turns } from '../../src/engine/turns.ts'

const never = new AbortController().signal
const settled = () => new Promise(resolve => setImmediate(resolve))

/** Who is inside, in the order in which they came in. */
function watched() {
  const turns = new Turns()
  const inside: string[] = []
  const enter = (name: string, alone: boolean, signal = never, key = 'one') =>
    turns.enter(key, alone, signal).then(leave => {
      inside.push(name)
      return () => {
        if (inside.includes(name)) inside.splice(inside.indexOf(name), 1)
        leave()
      }
    })
  return { inside, enter }
}

describe('turns', () => {
  it('are shared, until someone is alone', async () => {
    const { inside, enter } = watched()
    const [a, b] = await Promise.all([enter('a', false), enter('b', false)])
    const alone = enter('alone', true)
    const late = enter('late', false)
    await settled()
    expect(inside, 'whoever shares need not wait for one who waits').toEqual(['a', 'b', 'late'])
    a()
    b()
    b()
    await settled()
    expect(inside).toEqual(['late'])
    ;(await late)()
    const leave = await alone
    const after = enter('after', false)
    await settled()
    expect(inside).toEqual(['alone'])
    leave()
    await after
    expect(inside).toEqual(['after'])
  })

  it('of other repositories are not waited for', async () => {
    const { inside, enter } = watched()
    await enter('a', true)
    await enter('b', true, never, 'two')
    expect(inside).toEqual(['a', 'b'])
  })

  it('that are no longer wanted are given up', async () => {
    const { inside, enter } = watched()
    const leave = await enter('a', false)
    const stop = new AbortController()
    const given = enter('given up', true, stop.signal)
    stop.abort(new Error('enough'))
    await expect(given).rejects.toThrow('enough')
    await expect(enter('never', false, stop.signal)).rejects.toThrow('enough')
    leave()
    ;(await enter('next', true))()
    expect(inside).toEqual([])
  })

  it('never let anyone in beside one who is alone, and leave nobody waiting', async () => {
    const steps = fc.array(fc.tuple(fc.constantFrom('share', 'alone', 'leave', 'stop'), fc.nat()), {
      maxLength: 60,
    })
    await fc.assert(
      fc.asyncProperty(steps, async given => {
        const turns = new Turns()
        const inside = new Set<{ alone: boolean; leave: () => void }>()
        const waiting: AbortController[] = []
        const all: Promise<unknown>[] = []
        for (const [what, which] of given) {
          if (what === 'leave') {
            const one = [...inside][which % Math.max(1, inside.size)]
            if (one !== undefined) inside.delete(one)
            one?.leave()
          } else if (what === 'stop') waiting[which % Math.max(1, waiting.length)]?.abort(new Error('stop'))
          else {
            const stop = new AbortController()
            waiting.push(stop)
            const alone = what === 'alone'
            const entered = turns.enter('one', alone, stop.signal).then(leave => {
              inside.add({ alone, leave })
              if (inside.size > 1) expect([...inside].every(one => !one.alone)).toBe(true)
            })
            all.push(entered.catch(error => expect(error).toMatchObject({ message: 'stop' })))
          }
          await settled()
        }
        while (inside.size > 0) {
          for (const one of inside) {
            inside.delete(one)
            one.leave()
          }
          await settled()
        }
        await Promise.all(all)
      }),
    )
  })
})

it('what is done serially goes on after a failure', async () => {
  const serially = new Serially()
  const done: number[] = []
  const work = (number: number) => async () => {
    await settled()
    done.push(number)
    if (number === 2) throw new Error('two')
    return number
  }
  const results = await Promise.allSettled([1, 2, 3].map(number => serially.run(work(number))))
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(done).toEqual([1, 2, 3])
})
