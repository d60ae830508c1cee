import { BaseError } from './base-errors.ts'
import type { Brand } from './brand.ts'
import { toHex } from './bytes.ts'
import type { Digest } from './names.ts'

/*
 * Packs are divided among 256 slots by the first byte of their id. The id is SHA-256 of the pack, so nobody chooses the
 * slot, slots are of about the same size, and whoever reads the ledger later knows which packs a slot held.
 */

export const slotsCount = 256

/** Which slots, as 64 lower-case hex digits: slot 0 is the highest bit of the first digit. */
export type SlotSet = Brand<string, 'SlotSet'>

export function parseSlotSet(untrustedText: string): SlotSet {
  if (!/^[0-9a-f]{64}$/.test(untrustedText))
    throw new BaseError('NAME_INVALID', 'not a set of slots: expected 64 lower-case hex digits')
  return untrustedText as SlotSet
}

export function slotOf(pack: Digest): number {
  return Number.parseInt(pack.slice(0, 2), 16)
}

export function slotSetOf(slots: Iterable<number>): SlotSet {
  const bytes = new Uint8Array(slotsCount / 8)
  for (const slot of slots) bytes[slot >> 3] = (bytes[slot >> 3] ?? 0) | (0x80 >> (slot & 7))
  return toHex(bytes) as SlotSet
}

/** Ascending. */
export function slotsOf(set: SlotSet): readonly number[] {
  const bytes = Buffer.from(set, 'hex')
  return Array.from({ length: slotsCount }, (_, slot) => slot).filter(
    slot => ((bytes[slot >> 3] ?? 0) & (0x80 >> (slot & 7))) !== 0,
  )
}
