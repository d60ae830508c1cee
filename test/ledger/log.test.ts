import { mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { CodedError } from '../../src/base/errors.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { verifyCheckpoint } from '../../src/ledger/checkpoint.ts'
import { Ledger, type LedgerOptions } from '../../src/ledger/log.ts'
import { cosign } from '../../src/ledger/signing.ts'
import { verifyContinues, verifyEntries, verifyEntry, verifyQuorum } from '../../src/ledger/verify.ts'
import {
  codeOf,
  collect,
  hsm,
  hsmKey,
  jobEntries,
  jobEntry,
  logKey,
  management,
  managementKey,
  options,
  origin,
  start,
  testSigner,
} from './support.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'ledger-'))
})
afterEach(async () => {
  await rm(directory, { recursive: true })
})

const open = (more: Partial<LedgerOptions> = {}) => Ledger.open(directory, { ...options, ...more })
const opening = (more: Partial<LedgerOptions> = {}) => codeOf(() => open(more))

async function made(count: number, at = directory): Promise<Ledger> {
  const ledger = await Ledger.create(at, options)
  if (count > 1) await ledger.append(jobEntries(count - 1))
  return ledger
}

async function leavesOf(ledger: Ledger): Promise<readonly Uint8Array[]> {
  return (await collect(ledger.entries())).map(({ bytes }) => bytes)
}

async function flip(name: string, at: number): Promise<void> {
  const bytes = await readFile(path.join(directory, name))
  bytes[at] = (bytes[at] ?? 0) ^ 1
  await writeFile(path.join(directory, name), bytes)
}

describe('a ledger', () => {
  it('begins with its genesis', async () => {
    const ledger = await made(1)
    const entries = await collect(ledger.entries())
    expect(entries.map(({ index, entry }) => ({ index, entry }))).toEqual([
      { index: 0, entry: { type: 'genesis', time: start, origin } },
    ])
    expect(await codeOf(() => Ledger.create(directory, options))).toBe('LEDGER_EXISTS')
    expect(await codeOf(() => ledger.append([{ type: 'genesis', time: start, origin }]))).toBe(
      'LEDGER_ENTRY_INVALID',
    )
  })

  it('is not made by opening', async () => {
    expect(await opening()).toBe('LEDGER_MISSING')
    expect(await opening({ floor: { size: 3, root: null } })).toBe('LEDGER_ROLLED_BACK')
  })

  it('reads after a restart what was appended, in whatever steps', async () => {
    const ledger = await made(1)
    let next = 0
    for (const count of [1, 1, 250, 3, 1, 256, 255, 1, 300]) {
      expect(await ledger.append(jobEntries(count, next))).toEqual({
        index: next + 1,
        size: next + 1 + count,
      })
      next += count
    }
    const again = await open()
    expect(again.size).toBe(next + 1)
    const entries = await collect(again.entries(1))
    expect(entries.map(({ entry }) => entry)).toEqual(jobEntries(next))
    const some = await collect(again.entries(250, 260))
    expect(some.map(({ index }) => index)).toEqual([250, 251, 252, 253, 254, 255, 256, 257, 258, 259])
    expect(again.checkpoint()).toBe(ledger.checkpoint())
    await again.append([jobEntry(next)])
    expect((await open()).size).toBe(next + 2)
  })

  it('keeps the order of calls that are made at once', async () => {
    const ledger = await made(1)
    const answers = await Promise.all(Array.from({ length: 20 }, (_, at) => ledger.append([jobEntry(at)])))
    expect(answers.map(({ index }) => index)).toEqual(Array.from({ length: 20 }, (_, at) => at + 1))
    const entries = await collect(ledger.entries(1))
    expect(entries.map(({ entry }) => entry)).toEqual(jobEntries(20))
  })

  it('commits together what is appended at once, and fails together what cannot be', async () => {
    let [signatures, isSigning] = [0, true]
    const ledger = await made(1).then(() =>
      open({
        signer: {
          publicKey: options.signer.publicKey,
          async sign(message) {
            if (!isSigning) throw new Error('token removed')
            signatures += 1
            return options.signer.sign(message)
          },
        },
      }),
    )
    const answers = await Promise.all([3, 1, 5].map(count => ledger.append(jobEntries(count))))
    expect(answers).toEqual([1, 4, 5].map(index => ({ index, size: 10 })))
    const large = await Promise.all([1, 10_000, 1].map(count => ledger.append(jobEntries(count))))
    expect(large.map(({ size }) => size)).toEqual([11, 10_011, 10_012])
    expect(signatures).toBe(4)
    isSigning = false
    const failing = [3, 4].map(count => codeOf(() => ledger.append(jobEntries(count))))
    expect(await Promise.all(failing)).toEqual(['LEDGER_SIGNER', 'LEDGER_SIGNER'])
    isSigning = true
    expect(await ledger.append([jobEntry(1)])).toEqual({ index: 10_012, size: 10_013 })
  })

  it('leaves on disk exactly the tiles of its size', async () => {
    const ledger = await made(1)
    for (let at = 0; at < 6; at += 1) await ledger.append(jobEntries(44, 44 * at))
    const names = await readdir(directory, { recursive: true, withFileTypes: true })
    const files = names.filter(one => one.isFile()).map(one => path.join(one.parentPath, one.name))
    expect(files.map(one => path.relative(directory, one)).sort()).toEqual([
      'checkpoint',
      'tile/0/000',
      'tile/0/001.p/9',
      'tile/1/000.p/1',
      'tile/entries/000',
      'tile/entries/001.p/9',
    ])
  })

  it('proves itself to someone who has only the key', async () => {
    const ledger = await made(700)
    const checkpoint = verifyCheckpoint(new Untrusted(ledger.checkpoint()), logKey)
    verifyEntries(await leavesOf(ledger), checkpoint)
    for (const index of [0, 1, 255, 256, 511, 512, 698, 699])
      verifyEntry(
        (await leavesOf(ledger))[index] as Uint8Array,
        index,
        await ledger.inclusion(index),
        checkpoint,
      )
    for (const size of [0, 1, 255, 256, 257, 512, 699, 700]) {
      const older = { origin, size, root: await ledger.root(size) }
      verifyContinues(older, checkpoint, await ledger.consistency(size))
    }
    expect(await codeOf(() => ledger.inclusion(700))).toBe('LEDGER_RANGE')
    expect(await codeOf(() => ledger.consistency(0, 701))).toBe('LEDGER_RANGE')
    expect(await codeOf(() => collect(ledger.entries(0, 701)))).toBe('LEDGER_RANGE')
  })

  it('takes neither nothing nor too much at once', async () => {
    const ledger = await made(1)
    expect(await codeOf(() => ledger.append([]))).toBe('LEDGER_LIMIT')
    expect(await codeOf(() => ledger.append(jobEntries(10_001)))).toBe('LEDGER_LIMIT')
  })

  it('notices that another process has written', async () => {
    const [one, other] = [await made(3), await open()]
    await one.append([jobEntry(7)])
    expect(await codeOf(() => other.append([jobEntry(8)]))).toBe('LEDGER_BUSY')
    expect(await codeOf(() => other.append([jobEntry(8)]))).toBe('LEDGER_BUSY')
    expect(await one.append([jobEntry(9)])).toEqual({ index: 4, size: 5 })
  })

  it('records nothing that its signer does not sign', async () => {
    const ledger = await made(3)
    let works = false
    const flaky = await open({
      signer: {
        publicKey: options.signer.publicKey,
        sign: message => (works ? options.signer.sign(message) : Promise.reject(new Error('token removed'))),
      },
    })
    expect(await codeOf(() => flaky.append([jobEntry(7)]))).toBe('LEDGER_SIGNER')
    expect([flaky.size, (await open()).size, ledger.size]).toEqual([3, 3, 3])
    works = true
    expect(await flaky.append([jobEntry(8)])).toEqual({ index: 3, size: 4 })
  })
})

describe('cosignatures', () => {
  const lineOf = async (ledger: Ledger, witness = hsm) =>
    new Untrusted(await cosign(ledger.head, witness.name, witness.signer, start))

  it('are kept, and handed out with the checkpoint', async () => {
    const ledger = await made(5)
    await ledger.addCosignature(await lineOf(ledger), 5)
    await ledger.addCosignature(await lineOf(ledger, management), 5)
    const checkpoint = verifyCheckpoint(new Untrusted((await open()).checkpoint()), logKey)
    expect(verifyQuorum(checkpoint, [hsmKey, managementKey], 2)).toHaveLength(2)
    await ledger.append([jobEntry(9)])
    expect((await open()).witnessed.map(({ witness, checkpoint: { size } }) => [witness.name, size])).toEqual(
      [
        [hsm.name, 5],
        [management.name, 5],
      ],
    )
  })

  it('may be late, and an older one does not replace a newer', async () => {
    const ledger = await made(5)
    const late = await lineOf(ledger)
    await ledger.append([jobEntry(9)])
    const newest = await lineOf(ledger)
    await ledger.addCosignature(newest, 6)
    await ledger.addCosignature(late, 5)
    expect(ledger.witnessed.map(({ checkpoint }) => checkpoint.size)).toEqual([6])
  })

  it('that come at once leave the newest', async () => {
    const ledger = await made(5)
    const lines = [await lineOf(ledger)]
    await ledger.append([jobEntry(9)])
    lines.push(await lineOf(ledger))
    await Promise.all(lines.map((line, at) => ledger.addCosignature(line, 5 + at)))
    expect((await open()).witnessed.map(({ checkpoint }) => checkpoint.size)).toEqual([6])
  })

  it('are refused of strangers and of other sizes', async () => {
    const ledger = await made(5)
    const line = await lineOf(ledger)
    const stranger = await lineOf(ledger, { name: 'example.org/w', signer: testSigner(9) })
    expect(await codeOf(() => ledger.addCosignature(stranger, 5))).toBe('LEDGER_SIGNATURE')
    expect(await codeOf(() => ledger.addCosignature(line, 4))).toBe('LEDGER_SIGNATURE')
    expect(await codeOf(() => ledger.addCosignature(line, 6))).toBe('LEDGER_RANGE')
    expect(await codeOf(() => ledger.addCosignature(new Untrusted('junk'), 5))).toBe('LEDGER_NOTE_INVALID')
    expect(ledger.witnessed).toEqual([])
  })

  it('on disk give away that the rest was rolled back or rewritten', async () => {
    const ledger = await made(5)
    await ledger.append(jobEntries(3, 50))
    const witnessed = new Untrusted(await cosign(ledger.head, hsm.name, hsm.signer, start))
    await ledger.addCosignature(witnessed, 8)
    const note = await readdir(path.join(directory, 'witness'))
    const [name = ''] = note
    const kept = await readFile(path.join(directory, 'witness', name))
    for (const [entries, code] of [
      [jobEntries(2), 'LEDGER_ROLLED_BACK'],
      [jobEntries(9), 'LEDGER_FORKED'],
    ] as const) {
      await rm(path.join(directory, 'checkpoint'))
      await rm(path.join(directory, 'tile'), { recursive: true })
      await rm(path.join(directory, 'witness'), { recursive: true, force: true })
      const other = await Ledger.create(directory, options)
      await other.append(entries)
      await other.addCosignature(await lineOf(other), other.size)
      await writeFile(path.join(directory, 'witness', name), kept)
      expect(await opening()).toBe(code)
    }
  })
})

describe('a ledger that was changed on disk', () => {
  it.each([
    ['a full tile', 'tile/0/000', 40],
    ['a partial tile', 'tile/0/001.p/44', 40],
    ['a tile above', 'tile/1/000.p/1', 3],
    ['a full bundle', 'tile/entries/000', 5000],
    ['a partial bundle', 'tile/entries/001.p/44', 700],
    ['the length of an entry', 'tile/entries/000', 1],
    ['the checkpoint', 'checkpoint', 60],
  ])('is refused after a flipped bit in %s', async (_, name, at) => {
    await made(300)
    await open()
    await flip(name, at)
    const error = await open().catch(thrown => thrown)
    expect(error).toMatchObject({ code: 'LEDGER_DAMAGED', kind: 'integrity' })
    // The upper tile is found out by the root that it no longer leads to.
    if (!name.startsWith('tile/1') && !name.includes('0/001.p')) expect(error.message).toContain(name)
  })

  it.each(['tile/0/000', 'tile/0/001.p/44', 'tile/entries/000', 'tile/entries/001.p/44'])(
    'is refused after %s was cut or removed',
    async name => {
      await made(300)
      await truncate(path.join(directory, name), 1000)
      expect(await opening()).toBe('LEDGER_DAMAGED')
      await rm(path.join(directory, name))
      expect(await opening()).toBe('LEDGER_DAMAGED')
    },
  )

  it('is found out while it is read, when the opening looked at the end only', async () => {
    await made(600)
    await flip('tile/entries/001', 100)
    const ledger = await open({ audit: 'end' })
    expect(await codeOf(() => collect(ledger.entries(0, 256)))).toBe('ok')
    expect(await codeOf(() => collect(ledger.entries()))).toBe('LEDGER_DAMAGED')
    expect(await codeOf(() => ledger.audit())).toBe('LEDGER_DAMAGED')
  })

  it('is refused with the tiles but without the checkpoint', async () => {
    await made(3)
    await rm(path.join(directory, 'checkpoint'))
    expect(await opening()).toBe('LEDGER_MISSING')
    expect(await codeOf(() => Ledger.create(directory, options))).toBe('LEDGER_EXISTS')
  })

  it('is refused when it is older than what was seen, or another history', async () => {
    const ledger = await made(20)
    const floor = { size: 20, root: await ledger.root(20) }
    expect((await open({ floor })).size).toBe(20)
    await ledger.append([jobEntry(50)])
    expect((await open({ floor })).size).toBe(21)
    expect(await opening({ floor: { size: 22, root: null } })).toBe('LEDGER_ROLLED_BACK')
    expect(await opening({ floor: { size: 20, root: await ledger.root(19) } })).toBe('LEDGER_FORKED')
  })

  it('is refused under another name or key', async () => {
    await made(3)
    expect(await opening({ origin: 'example.org/other' })).toBe('LEDGER_ORIGIN')
    expect(await opening({ signer: testSigner(9) })).toBe('LEDGER_DAMAGED')
  })

  it('gives a coded error for whatever the checkpoint says', async () => {
    await made(3)
    for (const text of ['', '\n\n', `${origin}\n3\n`, '\ud800', 'x'.repeat(100_000)]) {
      await writeFile(path.join(directory, 'checkpoint'), text)
      await expect(open()).rejects.toBeInstanceOf(CodedError)
    }
  })
})
