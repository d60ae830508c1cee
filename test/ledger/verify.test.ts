import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import type { SignedCheckpoint } from '../../src/ledger/checkpoint.ts'
import { Frontier, leafHash } from '../../src/ledger/merkle.ts'
import { parseSignatureLine, verifierKey } from '../../src/ledger/note.ts'
import { cosign, signCheckpoint } from '../../src/ledger/signing.ts'
import { verifyEntries, verifyQuorum } from '../../src/ledger/verify.ts'
import { codeOf, hsm, hsmKey, logSigner, management, managementKey, origin, start } from './support.ts'

const entries = Array.from({ length: 40 }, (_, at) => utf8(`entry ${at}`))

function checkpointOf(list: readonly Uint8Array[]) {
  const frontier = new Frontier()
  for (const entry of list) frontier.push(leafHash(entry))
  return { origin, size: list.length, root: frontier.root() }
}

describe('following entries', () => {
  it('proves them, and goes on from there', () => {
    const known = verifyEntries(entries.slice(0, 30), checkpointOf(entries.slice(0, 30)))
    expect(verifyEntries(entries.slice(30), checkpointOf(entries), known).size).toBe(40)
    expect(known.size).toBe(30)
  })

  it('refuses an entry that is missing, added, changed or out of order', async () => {
    const checkpoint = checkpointOf(entries)
    const [first = utf8(''), second = utf8(''), ...rest] = entries
    for (const list of [
      entries.slice(1),
      entries.slice(0, -1),
      [...entries, utf8('more')],
      entries.with(7, utf8('changed')),
      [second, first, ...rest],
    ])
      expect(await codeOf(() => verifyEntries(list, checkpoint))).toBe('LEDGER_DAMAGED')
  })
})

describe('a quorum', () => {
  const cosigned = async (...witnesses: (typeof hsm)[]): Promise<SignedCheckpoint> => {
    const checkpoint = await signCheckpoint(checkpointOf(entries), logSigner)
    const lines = await Promise.all(
      witnesses.map(({ name, signer }) => cosign(checkpoint, name, signer, start)),
    )
    return { ...checkpoint, signatures: [...checkpoint.signatures, ...lines.map(parseSignatureLine)] }
  }

  it('is of different keys, not of names', async () => {
    expect(verifyQuorum(await cosigned(hsm, management), [hsmKey, managementKey], 2)).toHaveLength(2)
    const alias = { ...hsm, name: 'strongroom.example/alias' }
    const aliasKey = verifierKey(alias.name, 'cosignature/v1', hsmKey.publicKey)
    const twice = await cosigned(hsm, alias)
    expect(await codeOf(() => verifyQuorum(twice, [hsmKey, aliasKey], 2))).toBe('LEDGER_QUORUM')
    expect(verifyQuorum(twice, [hsmKey, aliasKey], 1)).toHaveLength(2)
  })

  it('is not reached by too few, by strangers, or with a threshold that is none', async () => {
    const one = await cosigned(hsm)
    expect(await codeOf(() => verifyQuorum(one, [hsmKey, managementKey], 2))).toBe('LEDGER_QUORUM')
    expect(await codeOf(() => verifyQuorum(one, [managementKey], 1))).toBe('LEDGER_QUORUM')
    for (const threshold of [-1, 0.5, Number.NaN])
      expect(await codeOf(() => verifyQuorum(one, [hsmKey], threshold))).toBe('LEDGER_QUORUM')
  })

  it('does not accept a broken line of a known witness', async () => {
    const one = await cosigned(hsm)
    expect(await codeOf(() => verifyQuorum({ ...one, size: 41 }, [hsmKey], 0))).toBe('LEDGER_SIGNATURE')
  })
})
