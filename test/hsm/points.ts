import { createECDH } from 'node:crypto'

/** The point of a P-256 key that nobody keeps. */
export function generatePoint(): Uint8Array {
  return new Uint8Array(createECDH('prime256v1').generateKeys())
}
