import { type LedgerPage, pageBytesMax, pageEntriesMax } from '../qrexec/calls/ledger.ts'
import type { Ledger } from './log.ts'

/** dom0's answer to `strongroom.Ledger`: as many of the entries from `from` on as one answer may hold. */
export async function readPage(ledger: Ledger, from: number): Promise<LedgerPage> {
  const { size } = ledger
  const checkpoint = ledger.checkpoint()
  // Who has more than there is gets the proof of it, a smaller checkpoint, and raises the alarm itself.
  if (from > size) return { checkpoint, consistency: [], entries: [] }
  const consistency = await ledger.consistency(from, size)
  const entries: Uint8Array[] = []
  let bytesLeft = pageBytesMax
  for await (const { bytes } of ledger.entries(from, Math.min(size, from + pageEntriesMax))) {
    bytesLeft -= bytes.byteLength
    if (entries.length > 0 && bytesLeft < 0) break
    entries.push(bytes)
  }
  return { checkpoint, consistency, entries }
}
