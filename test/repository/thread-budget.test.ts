import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isAskedBack, ThreadBudget, type ThreadShare } from '../../src/repository/thread-budget.ts'

const segmentsPerTurn = 16
const segmentsPerPack = 20

/** A backup whose hands work a segment in every step in which they have a turn, and never come to an end. */
class PlayedBackup {
  readonly share: ThreadShare
  readonly begun = new Set<number>()
  readonly #ofTurn = new Map<number, number>()
  readonly #isStoring: boolean
  segments = 0

  constructor(budget: ThreadBudget, isStoring: boolean) {
    this.share = budget.share()
    this.#isStoring = isStoring
    for (let hand = 0; hand < this.share.hands; hand++) this.#ask(hand)
  }

  #ask(hand: number): void {
    this.#ofTurn.delete(hand)
    this.share.take(hand, () => {
      this.begun.add(hand)
      this.#ofTurn.set(hand, 0)
    })
  }

  step(): void {
    const asked = new Int32Array(this.share.asked)
    for (const [hand, before] of [...this.#ofTurn]) {
      this.segments += 1
      const segments = before + 1
      this.#ofTurn.set(hand, segments)
      const full = this.#isStoring && segments % segmentsPerPack === 0
      if (full || (segments >= segmentsPerTurn && isAskedBack(asked))) this.#ask(hand)
    }
  }

  /** Segments in so many steps. */
  static during(steps: number, backups: readonly PlayedBackup[], each: () => void = () => {}): number[] {
    const before = backups.map(({ segments }) => segments)
    for (let step = 0; step < steps; step++) {
      for (const backup of backups) backup.step()
      each()
    }
    return backups.map(({ segments }, index) => segments - (before[index] ?? 0))
  }
}

const played = (budget: ThreadBudget, count: number, isStoring = true) =>
  Array.from({ length: count }, () => new PlayedBackup(budget, isStoring))

describe('the threads of a dom0', () => {
  test('are all of one backup that is alone, which is never asked to give one back', () => {
    const budget = new ThreadBudget(4)
    const [alone] = played(budget, 1) as [PlayedBackup]
    expect(alone.share.held).toBe(4)
    expect(PlayedBackup.during(100, [alone])).toEqual([400])
    expect(new Int32Array(alone.share.asked)[0]).toBe(0)
    // What more cores would have to wait for anyway.
    expect(new ThreadBudget(64).share().hands).toBe(8)
  })

  test.each([
    [1, 2],
    [2, 2],
    [2, 3],
    [3, 2],
    [2, 8],
    [4, 3],
    [8, 3],
    [8, 8],
  ])('%i are shared by %i backups in equal parts, and all of them work', (width, count) => {
    for (const isStoring of [true, false]) {
      const budget = new ThreadBudget(width)
      const backups = played(budget, count, isStoring)
      const steps = 10_000
      const done = PlayedBackup.during(steps, backups, () => expect(budget.working).toBe(width))
      const equal = (steps * width) / count
      // Turns go round as packs fill up. Who stores nothing keeps what it has: a thread more or less.
      const goesRound = isStoring || width < count
      const [least, most] = goesRound
        ? [0.9 * equal, 1.1 * equal]
        : [steps * Math.floor(width / count), steps * Math.ceil(width / count)]
      for (const segments of done) {
        expect(segments).toBeGreaterThanOrEqual(least - 200)
        expect(segments).toBeLessThanOrEqual(most + 200)
      }
    }
  })

  test('are given back to one that comes later within a turn, and return when it has ended', () => {
    const budget = new ThreadBudget(4)
    const [first] = played(budget, 1, false) as [PlayedBackup]
    PlayedBackup.during(100, [first])
    const [second] = played(budget, 1, false) as [PlayedBackup]
    PlayedBackup.during(segmentsPerTurn, [first, second])
    expect([first.share.held, second.share.held]).toEqual([2, 2])
    // It begins no more threads than it has a use for.
    expect(second.begun.size).toBe(2)
    second.share.end()
    expect([first.share.held, second.share.held]).toEqual([4, 0])
    expect(PlayedBackup.during(100, [first])).toEqual([400])
  })

  test('are the others’ while a backup waits for its storage', () => {
    const budget = new ThreadBudget(2)
    const [slow, quick] = played(budget, 2) as [PlayedBackup, PlayedBackup]
    slow.share.give(0)
    expect([slow.share.held, quick.share.held]).toEqual([1, 1])
    slow.share.give(1)
    expect([slow.share.held, quick.share.held]).toEqual([0, 2])
  })

  test('are no matter to a backup that was stopped: it goes on at once', () => {
    const budget = new ThreadBudget(1)
    const holder = budget.share()
    holder.take(0, () => {})
    const stopped = budget.share()
    const turns: string[] = []
    stopped.take(0, () => turns.push('waited'))
    stopped.end()
    stopped.take(0, () => turns.push('asked later'))
    expect(turns).toEqual(['waited', 'asked later'])
    expect([budget.working, holder.held]).toEqual([1, 1])
  })

  test('are never more, none rests while somebody waits, and begun threads are bounded, whatever comes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(fc.tuple(fc.constantFrom('come', 'go', 'work'), fc.nat(7)), { minLength: 1, maxLength: 60 }),
        (width, events) => {
          const budget = new ThreadBudget(width)
          let backups: PlayedBackup[] = []
          for (const [event, which] of events) {
            if (event === 'come' && backups.length < 8) backups.push(...played(budget, 1, which % 2 === 0))
            else if (event === 'work') PlayedBackup.during(10 * which, backups)
            else {
              backups[which]?.share.end()
              backups = backups.filter((_, index) => index !== which)
            }
            expect(budget.working).toBe(backups.length === 0 ? 0 : width)
            const begun = backups.reduce((sum, { begun }) => sum + begun.size, 0)
            // The first may have been alone, the second one of two, …
            const most = backups.reduce((sum, _, index) => sum + Math.ceil(width / (index + 1)), 0)
            expect(begun).toBeLessThanOrEqual(most)
          }
        },
      ),
    )
  })
})
