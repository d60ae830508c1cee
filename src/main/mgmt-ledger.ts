import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import type { Catalogue } from '../api/catalogue/catalogue.ts'
import { keptEntries } from '../api/ledger-copy.ts'
import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import { errnoOf, printable } from '../base/errors.ts'
import { Untrusted } from '../base/untrusted.ts'
import { verifyCheckpoint } from '../ledger/checkpoint.ts'
import { LedgerError } from '../ledger/errors.ts'
import type { VerifierKey } from '../ledger/note.ts'
import { emptyEdge, grow } from '../ledger/tiles.ts'
import { verifyEntries } from '../ledger/verify.ts'
import type { Answer } from './command-line.ts'

/**
 * `strongroom management copy-ledger`: what this VM keeps of dom0's ledger, as tlog-tiles with the newest checkpoint that it has
 * witnessed. The service may run. Throws `LEDGER_MISSING`, `LEDGER_BUSY`, `FIELD_INVALID`.
 */
export async function copyLedger(
  catalogue: Catalogue,
  ledgerKey: VerifierKey,
  directory: string,
): Promise<Answer> {
  const state = await catalogue.witness.get(ledgerKey.name)
  if (state === null || state.checkpoint === '')
    throw new LedgerError('LEDGER_MISSING', 'this VM has witnessed nothing yet')
  const checkpoint = verifyCheckpoint(new Untrusted(state.checkpoint), ledgerKey)
  const entries = (await keptEntries({ catalogue, ledgerKey })).slice(0, checkpoint.size)
  if (entries.length < checkpoint.size)
    throw new LedgerError(
      'LEDGER_BUSY',
      `${entries.length} of the ${checkpoint.size} entries that were witnessed are kept; the rest is fetched once a minute`,
    )
  verifyEntries(entries, checkpoint)
  await mkdir(directory, { mode: 0o700 }).catch(cause => {
    const name = printable(directory)
    if (errnoOf(cause) !== 'EEXIST')
      throw new BaseError('FIELD_INVALID', `${name} cannot be made: ${errnoOf(cause) ?? 'no errno'}`, {
        cause,
        hint: 'name a new directory in one that is there and can be written; mount the medium first',
      })
    throw new BaseError('FIELD_INVALID', `${name} exists; a copy is never written over another`, {
      cause,
      hint: 'name a directory that is not there yet',
    })
  })
  const { files } = grow(emptyEdge, entries)
  for (const [name, bytes] of [...files, ['checkpoint', utf8(state.checkpoint)] as const]) {
    const file = path.join(directory, name)
    await mkdir(path.dirname(file), { recursive: true, mode: 0o700 })
    await writeFile(file, bytes, { mode: 0o600, flag: 'wx' })
  }
  return {
    result: { directory, size: checkpoint.size },
    text: [`${checkpoint.size} entries in ${directory}`],
  }
}
