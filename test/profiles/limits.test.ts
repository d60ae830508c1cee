import fc from 'fast-check'
import { expect, test } from 'vitest'
import { mayOrder } from '../../src/profiles/limits.ts'

const minutes = (count: number) => new Date(Date.UTC(2026, 10, 24) + count * 60_000)
const perDay = (ordersPerDay: number) => ({ ordersPerDay, minutesBetween: null })
const between = (minutesBetween: number) => ({ ordersPerDay: null, minutesBetween })

test('without limits everything is allowed', () => {
  expect(mayOrder(null, [minutes(0), minutes(0)], minutes(0))).toEqual({ allowed: true })
  expect(mayOrder({ ordersPerDay: 2, minutesBetween: 60 }, [], minutes(0))).toEqual({ allowed: true })
})

test('orders too close together are refused until there is distance', () => {
  expect(mayOrder(between(60), [minutes(0)], minutes(59))).toMatchObject({
    allowed: false,
    retryAt: minutes(60),
  })
  expect(mayOrder(between(60), [minutes(0)], minutes(60))).toEqual({ allowed: true })
})

test('too many within 24 hours are refused until the oldest is a day old', () => {
  const history = [minutes(600), minutes(0), minutes(300)]
  expect(mayOrder(perDay(3), history, minutes(1439))).toMatchObject({
    allowed: false,
    retryAt: minutes(1440),
  })
  expect(mayOrder(perDay(3), history, minutes(1440))).toEqual({ allowed: true })
  expect(mayOrder(perDay(4), history, minutes(700))).toEqual({ allowed: true })
})

test('midnight does not renew the limit', () => {
  expect(mayOrder(perDay(1), [minutes(-1)], minutes(1)).allowed).toBe(false)
})

test('of two refusals the later time is told', () => {
  expect(mayOrder({ ordersPerDay: 1, minutesBetween: 10 }, [minutes(0)], minutes(5))).toMatchObject({
    retryAt: minutes(1440),
    reason: 'more than 1 orders within 24 hours; the next is possible at 2026-11-25T00:00:00.000Z',
  })
})

test('a clock that was set back lifts no limit', () => {
  expect(mayOrder(between(10), [minutes(500)], minutes(0)).allowed).toBe(false)
  expect(mayOrder(perDay(1), [minutes(500)], minutes(0)).allowed).toBe(false)
})

test('at the time that a refusal tells, the order is allowed, and not a millisecond before', () => {
  const time = fc.integer({ min: -3000, max: 0 }).map(minutes)
  fc.assert(
    fc.property(
      fc.record({
        ordersPerDay: fc.integer({ min: 1, max: 5 }),
        minutesBetween: fc.integer({ min: 1, max: 2000 }),
      }),
      fc.array(time, { maxLength: 8 }),
      (limits, history) => {
        const verdict = mayOrder(limits, history, minutes(0))
        if (verdict.allowed) return
        expect(mayOrder(limits, history, verdict.retryAt).allowed).toBe(true)
        expect(mayOrder(limits, history, new Date(verdict.retryAt.getTime() - 1)).allowed).toBe(false)
      },
    ),
    { numRuns: 300 },
  )
})
