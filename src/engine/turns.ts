interface Waiting {
  readonly alone: boolean
  readonly admit: () => void
}

interface Place {
  /** How many share it now. */
  shared: number
  alone: boolean
  readonly waiting: Waiting[]
}

/**
 * Who may work on the repositories of a profile at the same time: any number who share them, or one alone. Whoever wants to be
 * alone waits until the others have gone, and lets those who come meanwhile go first: a prune can wait, a backup should not.
 */
export class Turns {
  readonly #places = new Map<string, Place>()

  /** Resolves when it is one's turn, with what ends it. Rejects with the signal's reason. */
  async enter(key: string, alone: boolean, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const place = this.#places.get(key) ?? { shared: 0, alone: false, waiting: [] }
    this.#places.set(key, place)
    if (isFree(place, alone)) admit(place, alone)
    else await this.#wait(place, alone, signal)
    let inside = true
    return () => {
      if (!inside) return
      inside = false
      if (alone) place.alone = false
      else place.shared -= 1
      this.#next(key, place)
    }
  }

  #wait(place: Place, alone: boolean, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = () => {
        place.waiting.splice(place.waiting.indexOf(waiting), 1)
        reject(signal.reason)
      }
      const waiting: Waiting = {
        alone,
        admit: () => {
          signal.removeEventListener('abort', leave)
          resolve()
        },
      }
      signal.addEventListener('abort', leave, { once: true })
      place.waiting.push(waiting)
    })
  }

  #next(key: string, place: Place): void {
    for (const waiting of [...place.waiting]) {
      if (!isFree(place, waiting.alone)) continue
      place.waiting.splice(place.waiting.indexOf(waiting), 1)
      admit(place, waiting.alone)
      waiting.admit()
    }
    if (place.shared === 0 && !place.alone && place.waiting.length === 0) this.#places.delete(key)
  }
}

function isFree({ shared, alone }: Place, wantsAlone: boolean): boolean {
  return !alone && (!wantsAlone || shared === 0)
}

function admit(place: Place, alone: boolean): void {
  if (alone) place.alone = true
  else place.shared += 1
}
