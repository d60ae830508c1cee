import { generateKeyPairSync, sign } from 'node:crypto'
import { utf8 } from '../../src/base/bytes.ts'
import { formatCheckpoint } from '../../src/ledger/checkpoint.ts'
import { leafHash } from '../../src/ledger/merkle.ts'
import { verifierKey } from '../../src/ledger/note.ts'
import { type Signer, signCheckpoint } from '../../src/ledger/signing.ts'
import type { LedgerPage } from '../../src/qrexec/calls/ledger.ts'
import { proveConsistency, treeHash } from './reference-tree.ts'

export const origin = 'ledger.example'
export const dom0Key = newSigner()
export const ledgerKey = verifierKey(origin, 'ed25519', dom0Key.publicKey)

export function newSigner(): Signer {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519')
  const raw = new Uint8Array(publicKey.export({ type: 'spki', format: 'der' }).subarray(-32))
  return { publicKey: raw, sign: async message => new Uint8Array(sign(null, message, privateKey)) }
}

export const entries = (count: number, name = 'entry'): readonly Uint8Array[] =>
  Array.from({ length: count }, (_, at) => utf8(`${name} ${at}`))

/** What dom0 answers for a ledger of these leaves; at most `countMax` entries at a time. */
export async function pages(
  leaves: readonly Uint8Array[],
  { signer = dom0Key, name = origin, countMax = 500 } = {},
): Promise<(from: number) => LedgerPage> {
  const hashes = leaves.map(leafHash)
  const head = { origin: name, size: leaves.length, root: treeHash(hashes) }
  const checkpoint = formatCheckpoint(await signCheckpoint(head, signer))
  return from => ({
    checkpoint,
    consistency: from > leaves.length ? [] : proveConsistency(hashes, from),
    entries: leaves.slice(from, from + countMax),
  })
}
