import { availableParallelism } from 'node:os'
import { SpareBodies } from './pack-bodies.ts'

/** More would only wait for the disk and for the storage. */
const handsMax = 8
/** Packs that one backup has on its way to the storage beside those that are being filled, when it is alone. */
const packsAheadMax = 3

/**
 * How many threads work at once, whatever runs. Each backup has a share, whose hands (threads, or what will be threads)
 * ask for a turn and give it back when they have nothing to do or wait for something else. A turn that is free goes to
 * the backup that has the fewest, and among those to the one that waits for the longest; a backup that has more than it
 * would get is asked to give some back. So a backup that is alone has all of them, and none has to wait for another's end.
 */
export class ThreadBudget {
  readonly spareBodies: SpareBodies
  readonly #width: number
  readonly #shares = new Set<ThreadShare>()
  #ticket = 0

  /** `width`: how many threads work at once. */
  constructor(width: number = availableParallelism()) {
    this.#width = width
    this.spareBodies = new SpareBodies(() => (this.#shares.size === 0 ? 0 : width + packsAheadMax))
  }

  /** Of at most so many threads. */
  share(threadsMax = handsMax): ThreadShare {
    const share: ThreadShare = new ThreadShare({
      hands: Math.min(this.#width, handsMax, threadsMax),
      ticket: () => ++this.#ticket,
      packsAhead: () => Math.max(1, Math.floor(packsAheadMax / this.#shares.size)),
      settle: () => this.#settle(),
      leave: () => this.#leave(share),
    })
    this.#shares.add(share)
    return share
  }

  /** Threads at work. */
  get working(): number {
    return sum([...this.#shares].map(({ held }) => held))
  }

  #leave(share: ThreadShare): void {
    this.#shares.delete(share)
    if (this.#shares.size === 0) this.spareBodies.clear()
  }

  #settle(): void {
    const fair = Math.ceil(this.#width / this.#shares.size)
    for (let free = this.#width - this.working; free > 0; free--) {
      // Another thread is begun for a fair share, or else only because nobody has a use for the turn who has one.
      const [next] = [...this.#needy(fair), ...this.#needy(Number.POSITIVE_INFINITY)]
      if (next === undefined) break
      next.grant()
    }
    this.#askBack(this.#needy(fair))
  }

  /** Those of which a hand waits that has a thread or a number below `unbegun`: who has fewest first, then who waits for the longest. */
  #needy(unbegun: number): readonly ThreadShare[] {
    return [...this.#shares]
      .filter(share => share.wants(unbegun))
      .sort((one, other) => one.held - other.held || one.since - other.since)
  }

  /** One turn of the backup that has most for each that has none, or at least two fewer. */
  #askBack(needy: readonly ThreadShare[]): void {
    const left = new Map([...this.#shares].map(share => [share, share.held]))
    for (const share of needy) {
      const [most] = [...left].sort(
        ([one, ofOne], [other, ofOther]) => ofOther - ofOne || one.since - other.since,
      )
      if (most === undefined) break
      const [rich, turns] = most
      if (rich !== share && turns >= (share.held === 0 ? 1 : share.held + 2)) left.set(rich, turns - 1)
    }
    for (const [share, turns] of left) share.askBack(share.held - turns)
  }
}

interface ShareOptions {
  readonly hands: number
  readonly ticket: () => number
  readonly packsAhead: () => number
  readonly settle: () => void
  readonly leave: () => void
}

/** What one backup has of the budget. Its hands are numbered from 0. */
export class ThreadShare {
  /** Int32: how many hands are to give back their turn when it suits them. */
  readonly asked = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT)
  readonly #options: ShareOptions
  readonly #holding = new Set<number>()
  readonly #waiting = new Map<number, () => void>()
  /** Hands that had a turn before, and so have a thread. */
  readonly #begun = new Set<number>()
  #since = 0
  #ended = false

  constructor(options: ShareOptions) {
    this.#options = options
  }

  /** How many hands it may have. */
  get hands(): number {
    return this.#options.hands
  }

  /** How many packs may be on their way to the storage while others are filled. Fewer when others have packs too. */
  get packsAhead(): number {
    return this.#options.packsAhead()
  }

  /** Turns that its hands have. */
  get held(): number {
    return this.#holding.size
  }

  /** The ticket of its last turn, or of when it began to wait. */
  get since(): number {
    return this.#since
  }

  /** Calls `use` when it is this hand's turn, which may be now. A turn that it has is given back first. */
  take(hand: number, use: () => void): void {
    if (this.#ended) {
      use()
      return
    }
    this.#holding.delete(hand)
    if (this.#waiting.size === 0) this.#since = this.#options.ticket()
    this.#waiting.set(hand, use)
    this.#options.settle()
  }

  /** Gives back the turn that the hand has, or waits for. */
  give(hand: number): void {
    const changed = this.#holding.delete(hand) || this.#waiting.delete(hand)
    if (changed) this.#options.settle()
  }

  /** No more turns: who waits, and who asks from now on, goes at once. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#holding.clear()
    const waiting = [...this.#waiting.values()]
    this.#waiting.clear()
    this.#options.leave()
    this.#options.settle()
    for (const use of waiting) use()
  }

  /** Whether a hand waits that has a thread or a number below `unbegun`. */
  wants(unbegun: number): boolean {
    return [...this.#waiting.keys()].some(hand => hand < unbegun || this.#begun.has(hand))
  }

  /** To the lowest that waits: those after it need not begin, or rest. */
  grant(): void {
    const hand = Math.min(...this.#waiting.keys())
    const use = this.#waiting.get(hand)
    if (use === undefined) return
    this.#waiting.delete(hand)
    this.#holding.add(hand)
    this.#begun.add(hand)
    this.#since = this.#options.ticket()
    use()
  }

  askBack(turns: number): void {
    Atomics.store(new Int32Array(this.asked), 0, turns)
  }
}

/** Whether the hand that asks is to give back its turn. For threads. */
export function isAskedBack(asked: Int32Array): boolean {
  const turns = Atomics.load(asked, 0)
  return turns > 0 && Atomics.compareExchange(asked, 0, turns, turns - 1) === turns
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0)
}
