import type { Entropy } from '../../../src/base/environment.ts'

/** Known bytes that are written once, straight into what is handed out: no copy is left anywhere by this. */
export function plainEntropy(): Entropy {
  let state = 0x9e3779b9
  return {
    bytes(length) {
      const bytes = new Uint8Array(new ArrayBuffer(length))
      for (let at = 0; at < length; at++) {
        state = (Math.imul(state, 1664525) + 1013904223) >>> 0
        bytes[at] = state >>> 24
      }
      return bytes
    },
  }
}
