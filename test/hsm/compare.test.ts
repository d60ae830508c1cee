import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { dom0, parseDigest } from '../../src/base/names.ts'
import { compareLedgers, rememberedCheckpoints } from '../../src/hsm/compare.ts'
import { HsmStore } from '../../src/hsm/store.ts'
import { openCopy } from '../../src/ledger/copy-on-disk.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { jobEntries, logKey, options } from '../ledger/support.ts'
import { codeOf } from './support.ts'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'hsm-compare-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

/** The first `shared` entries are those of every ledger here, the others its own. */
async function ledgerOf(name: string, size: number, shared = size): Promise<string> {
  const at = path.join(directory, name)
  const ledger = await Ledger.create(at, options)
  const own = jobEntries(size - shared, 9000 + name.length)
  await ledger.append([...jobEntries(shared - 1), ...own])
  return at
}

/** The HSM VM has cosigned the honest ledger of 300 entries, and released something, at these sizes. */
async function remembered(...sizes: readonly number[]) {
  const home = path.join(directory, 'hsm')
  const honest = await openCopy(await ledgerOf('cosigned', 300), logKey)
  {
    await using store = await HsmStore.open(home)
    for (const size of sizes) {
      const witness = { origin: options.origin, size, root: await honest.root(size) }
      const nonce = parseDigest(size.toString(16).padStart(64, '0'))
      const of = { call: 'release', caller: dom0, profile: null, job: null, purpose: 'backup' } as const
      const decided = {
        time: new Date(),
        outcome: 'allowed',
        code: null,
        reason: undefined,
        epoch: undefined,
      } as const
      await store.record({ ...decided, ...of, index: size - 1, nonce, witness })
    }
    await store.saveWitness({ origin: options.origin, size: 290, root: await honest.root(290) })
  }
  return rememberedCheckpoints(home)
}

const copyOf = async (name: string, size: number, shared?: number) =>
  openCopy(await ledgerOf(name, size, shared), logKey)

describe('copies of one ledger', () => {
  it('are one history, also where one is behind', async () => {
    const cosigned = await remembered(20, 260)
    expect(cosigned.map(({ size }) => size)).toEqual([20, 260, 290])
    const copies = new Map([['dom0', await copyOf('dom0', 300)]] as const)
    expect(await compareLedgers(copies, cosigned)).toMatchObject({ standing: 'same', first: null })
    const late = new Map([...copies, ['management', await copyOf('management', 270)]] as const)
    expect(await compareLedgers(late, cosigned)).toMatchObject({
      standing: 'behind',
      first: { from: 270, to: 270 },
      copies: [
        { name: 'dom0', agrees: true },
        { name: 'management', agrees: true, entry: 'nothing' },
      ],
    })
  })

  it('of which dom0’s is shorter than what was cosigned were rolled back', async () => {
    const copies = new Map([['dom0', await copyOf('dom0', 280)]] as const)
    expect(await compareLedgers(copies, await remembered(20, 260))).toMatchObject({
      standing: 'rolled-back',
      first: { from: 280, to: 280 },
    })
    expect(await compareLedgers(copies, [])).toMatchObject({ standing: 'same' })
  })

  it('that part are forked: two name the entry, one alone between which checkpoints it is', async () => {
    const cosigned = await remembered(20, 260)
    const forked = await copyOf('dom0', 320, 255)
    const alone = await compareLedgers(new Map([['dom0', forked]]), cosigned)
    expect(alone).toMatchObject({ standing: 'forked', first: { from: 20, to: 259 } })
    const both = new Map([
      ['dom0', forked],
      ['management', await copyOf('management', 300)],
    ] as const)
    const { first, copies, standing } = await compareLedgers(both, cosigned)
    expect([standing, first]).toEqual(['forked', { from: 255, to: 255 }])
    expect(copies.map(({ name, agrees }) => [name, agrees])).toEqual([
      ['dom0', false],
      ['management', true],
    ])
    const [ofDom0, ofManagement] = copies.map(({ entry }) => entry)
    expect(ofDom0).toContain('-0000232c')
    expect(ofManagement).toContain('-000000fe')
    const later = new Map([
      ['dom0', forked],
      ['management', await copyOf('another', 310, 258)],
    ] as const)
    expect(await compareLedgers(later, cosigned)).toMatchObject({ first: { from: 255, to: 255 } })
  })

  it('are compared only when they prove themselves', async () => {
    const at = await ledgerOf('dom0', 300)
    expect(await codeOf(() => openCopy(directory, logKey))).toBe('LEDGER_MISSING')
    rmSync(path.join(at, 'tile/0/000'))
    const copies = new Map([['dom0', await openCopy(at, logKey)]] as const)
    const cosigned = await remembered(20)
    expect(await codeOf(() => compareLedgers(copies, cosigned))).toBe('LEDGER_DAMAGED')
  })
})
