/* Writes the big-endian structures of TPM 2.0 Library part 2. */

function integer(length: number, value: number): Uint8Array {
  const bytes = Buffer.alloc(length)
  bytes.writeUIntBE(value, 0, length)
  return new Uint8Array(bytes)
}

export function u8(value: number): Uint8Array {
  return integer(1, value)
}
export function u16(value: number): Uint8Array {
  return integer(2, value)
}
export function u32(value: number): Uint8Array {
  return integer(4, value)
}

/** In a buffer of its own: it may hold a password. */
export function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0))
  let at = 0
  for (const part of parts) {
    whole.set(part, at)
    at += part.byteLength
  }
  return whole
}

/** A TPM2B: two bytes of length, then the bytes. */
export function sized(bytes: Uint8Array): Uint8Array {
  return joined(u16(bytes.byteLength), bytes)
}

export const nothing = new Uint8Array(0)
