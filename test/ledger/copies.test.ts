import { describe, expect, it } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { compareCopies, copyOfEntries, entryText, sharedByProof } from '../../src/ledger/copies.ts'
import { leafHash } from '../../src/ledger/merkle.ts'
import { proveConsistency, treeHash } from '../api/reference-tree.ts'
import { origin } from './support.ts'

const entries = Array.from({ length: 40 }, (_, at) => utf8(`entry ${at}`))

describe('comparing copies', () => {
  const compare = (copies: Record<string, readonly Uint8Array[]>) =>
    compareCopies(new Map(Object.entries(copies).map(([name, list]) => [name, copyOfEntries(list)])))

  it('finds none in equal copies', async () => {
    expect(await compare({ dom0: entries, management: entries, hsm: entries })).toBeNull()
    expect(await compare({})).toBeNull()
    expect(await compare({ dom0: [], hsm: [] })).toBeNull()
  })

  it('names the first entry that differs', async () => {
    for (let at = 0; at < entries.length; at += 1)
      expect(await compare({ dom0: entries, hsm: entries.with(at, utf8('other')) })).toEqual({
        index: at,
        copies: ['dom0', 'hsm'],
        kind: 'forked',
      })
  })

  it('tells a copy that is behind from one that is another history', async () => {
    expect(await compare({ dom0: entries, hsm: entries.slice(0, 12) })).toEqual({
      index: 12,
      copies: ['dom0', 'hsm'],
      kind: 'behind',
    })
    expect(await compare({ dom0: entries.slice(0, 12), hsm: entries })).toEqual({
      index: 12,
      copies: ['hsm', 'dom0'],
      kind: 'behind',
    })
    const both = { dom0: entries, hsm: entries.slice(0, 12), management: entries.with(5, utf8('x')) }
    expect(await compare(both)).toMatchObject({ index: 5, kind: 'forked' })
  })
})

describe('a ledger that is only shown', () => {
  const showOf = (leaves: readonly Uint8Array[]) => {
    const hashes = leaves.map(leafHash)
    return async (from: number) => ({
      checkpoint: { origin, size: leaves.length, root: treeHash(hashes) },
      consistency: from > leaves.length ? [] : proveConsistency(hashes, from),
    })
  }
  const shared = (shown: readonly Uint8Array[]) => sharedByProof(copyOfEntries(entries), showOf(shown))

  it('is found to part where it does, by its proofs', async () => {
    for (const at of [0, 1, 7, 8, 31, 39]) {
      expect(await shared(entries.with(at, utf8('other')))).toBe(at)
      expect(await shared(entries.slice(0, at))).toBe(at)
    }
    expect(await shared(entries)).toBe(40)
    expect(await shared([...entries, utf8('more')])).toBe(40)
  })

  it('cannot claim to share what it does not', async () => {
    const [honest, forged] = [showOf(entries), showOf(entries.with(9, utf8('other')))]
    const lying = async (from: number) => ({
      checkpoint: (await forged(from)).checkpoint,
      consistency: (await honest(from)).consistency,
    })
    expect(await sharedByProof(copyOfEntries(entries), lying)).toBeLessThanOrEqual(9)
  })
})

describe('an entry for people', () => {
  it('is printable and bounded, whatever it is', () => {
    expect(entryText(undefined)).toBe('nothing')
    expect(entryText(utf8('a\u001b[2Jb\nc\u202ed'))).toBe('a?[2Jb?c?d')
    expect(entryText(new Uint8Array(60_000).fill(0xff)).length).toBeLessThan(310)
  })
})
