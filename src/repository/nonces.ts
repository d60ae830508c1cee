import type { Entropy } from '../base/environment.ts'

const drawnBytes = 4096

/** Entropy drawn in one piece for many small requests; what was handed out is never handed out again. */
export function pooled(entropy: Entropy): Entropy {
  let pool: Uint8Array = new Uint8Array(0)
  return {
    bytes(length) {
      if (length > drawnBytes) return entropy.bytes(length)
      if (pool.byteLength < length) pool = entropy.bytes(drawnBytes)
      const taken = pool.slice(0, length)
      pool = pool.subarray(length)
      return taken
    },
  }
}
