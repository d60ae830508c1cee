import { BaseError } from './base-errors.ts'

/**
 * Bytes with an owner and an end. Owns its whole buffer (never a slice of Node's shared pool), prints as `[secret]`,
 * and is zeroed by `using` or `dispose`. In JavaScript zeroing is best effort: copies made by the engine or by a
 * library are out of reach (`docs/explanation/threat-model.md` says so).
 */
export class Secret implements Disposable {
  #bytes: Uint8Array | null

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** Copies `bytes` into an own buffer and zeroes the original, whose caller gives it up. */
  static take(bytes: Uint8Array): Secret {
    const own = new Uint8Array(new ArrayBuffer(bytes.byteLength))
    own.set(bytes)
    bytes.fill(0)
    return new Secret(own)
  }

  /** The one way to the bytes: one search for `.expose(` finds every exposure. `use` must not keep them. */
  expose<R>(use: (bytes: Uint8Array) => R): R {
    if (this.#bytes === null) throw new BaseError('SECRET_DISPOSED', 'a secret was used after it was zeroed')
    return use(this.#bytes)
  }

  get byteLength(): number {
    return this.#bytes?.byteLength ?? 0
  }

  dispose(): void {
    this.#bytes?.fill(0)
    this.#bytes = null
  }
  [Symbol.dispose](): void {
    this.dispose()
  }

  toJSON(): string {
    return '[secret]'
  }
  toString(): string {
    return '[secret]'
  }
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return '[secret]'
  }
}
