const hidden = Symbol('untrusted')

/**
 * What another VM, a repository, an unsealed file or a person sent, before anyone checked it. `parse` is the only way
 * out. It prints and serialises as a fixed word, so that it cannot reach a log unchecked.
 */
export class Untrusted<T> {
  readonly #value: T
  /** Keeps `Untrusted<A>` and `Untrusted<B>` apart for the compiler. */
  declare readonly [hidden]: T

  constructor(value: T) {
    this.#value = value
  }

  /** Calls `parser`, which returns a checked value or throws a `CodedError`. */
  parse<U>(parser: (untrustedValue: T) => U): U {
    return parser(this.#value)
  }

  toJSON(): string {
    return '[untrusted]'
  }
  toString(): string {
    return '[untrusted]'
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[untrusted]'
  }
}
