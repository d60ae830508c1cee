import { readFileSync } from 'node:fs'
import path from 'node:path'
import fc from 'fast-check'
import Slip39 from 'slip39'
import { describe, expect, it } from 'vitest'
import { utf8 } from '../../../src/base/bytes.ts'
import { systemEntropy } from '../../../src/base/environment.ts'
import { wrongWordOf } from '../../../src/hsm/slip39/checksum.ts'
import { type CipherParameters, decryptSecret, encryptSecret } from '../../../src/hsm/slip39/cipher.ts'
import { decodeShare, encodeShare, type Share, wordCountOf } from '../../../src/hsm/slip39/share.ts'
import { joinSecret, splitSecret } from '../../../src/hsm/slip39/sharing.ts'
import { wordList } from '../../../src/hsm/slip39/word-list.ts'

type Vector = readonly [title: string, mnemonics: readonly string[], secret: string, xprv: string]
const vectors: readonly Vector[] = JSON.parse(
  readFileSync(path.join(import.meta.dirname, '../../vectors/slip39/vectors.json'), 'utf8'),
)
const noGroup = { index: 0, threshold: 1, count: 1 }

function numbers(mnemonic: string): Uint16Array {
  const found = mnemonic.split(' ').map(word => wordList.indexOf(word))
  expect(found).not.toContain(-1)
  return Uint16Array.from(found)
}

function text(words: Uint16Array): string {
  return [...words].map(word => wordList[word]).join(' ')
}

/** The secret in hex, or what is wrong; as strict as the standard, for sets without groups. */
async function join(mnemonics: readonly string[], passphrase: string): Promise<string> {
  const shares: Share[] = []
  for (const mnemonic of mnemonics) {
    const share = decodeShare(numbers(mnemonic))
    if (typeof share === 'string') return share
    if (share.group.count > 1) return 'groups'
    shares.push(share)
  }
  const [first] = shares
  if (first === undefined) return 'none'
  const setOf = ({ identifier, extendable, exponent, threshold }: Share) =>
    `${identifier} ${extendable} ${exponent} ${threshold}`
  if (shares.some(share => setOf(share) !== setOf(first))) return 'different'
  if (new Set(shares.map(({ index }) => index)).size < shares.length) return 'twice'
  if (shares.length !== first.threshold) return 'count'
  const points = shares.map(({ index, value }) => ({ x: index, value }))
  const encrypted = await joinSecret(points, first.threshold)
  if (encrypted === null) return 'digest'
  return Buffer.from(decryptSecret(encrypted, utf8(passphrase), first)).toString('hex')
}

async function split(secret: Uint8Array, threshold: number, count: number, parameters: CipherParameters) {
  const encrypted = encryptSecret(secret, new Uint8Array(0), parameters)
  const points = await splitSecret(encrypted, { threshold, count }, systemEntropy)
  return points.map(({ x, value }) =>
    text(encodeShare({ ...parameters, group: noGroup, index: x, threshold, value })),
  )
}

describe('the word list', () => {
  it('has 1024 words in order, each known by its first four letters', () => {
    expect(wordList).toHaveLength(1024)
    expect(wordList).toEqual([...wordList].sort())
    expect(new Set(wordList.map(word => word.slice(0, 4))).size).toBe(1024)
    expect(wordList.every(word => /^[a-z]{4,8}$/.test(word))).toBe(true)
  })
})

describe("the standard's vectors", () => {
  it('are all here', () => expect(vectors).toHaveLength(45))

  it.each(vectors)('%s', async (title, mnemonics, secret) => {
    const found = await join(mnemonics, 'TREZOR')
    const grouped = mnemonics.some(one => {
      const share = decodeShare(numbers(one))
      return typeof share !== 'string' && share.group.count > 1
    })
    if (grouped) expect(found).toMatch(/^(groups|length|checksum|form)$/)
    else if (secret === '') expect(found).toMatch(/^(length|checksum|form|different|twice|count|digest)$/)
    else expect(found, title).toBe(secret)
  })

  it('come out again word for word when what they say is written again', () => {
    let written = 0
    for (const mnemonic of vectors.flatMap(([, mnemonics]) => mnemonics)) {
      const share = decodeShare(numbers(mnemonic))
      if (typeof share === 'string') continue
      expect(text(encodeShare(share))).toBe(mnemonic)
      written++
    }
    expect(written).toBeGreaterThan(60)
  })
})

describe('beside another implementation', () => {
  const secrets = fc.uint8Array({ minLength: 32, maxLength: 32 })
  const scheme = fc
    .integer({ min: 1, max: 16 })
    .chain(threshold =>
      fc.tuple(
        fc.constant(threshold),
        threshold === 1 ? fc.constant(1) : fc.integer({ min: threshold, max: 16 }),
      ),
    )

  it('our shares are joined there, whichever are taken', async () => {
    await fc.assert(
      fc.asyncProperty(
        secrets,
        scheme,
        fc.boolean(),
        fc.nat(32767),
        async (secret, [m, n], extendable, id) => {
          const shares = await split(secret, m, n, { identifier: id, extendable, exponent: 0 })
          expect(shares).toHaveLength(n)
          for (const taken of [shares.slice(0, m), shares.slice(-m).reverse()])
            expect(Buffer.from(Slip39.recoverSecret(taken, ''))).toEqual(Buffer.from(secret))
        },
      ),
      { numRuns: 12 },
    )
  })

  it('theirs are joined here', async () => {
    await fc.assert(
      fc.asyncProperty(secrets, scheme, fc.constantFrom(0, 1), async (secret, [m, n], flag) => {
        const made = Slip39.fromArray([...secret], { groups: [[m, n]], extendableBackupFlag: flag })
        const shares = made.fromPath('r/0').mnemonics
        expect(shares).toHaveLength(n)
        for (const taken of [shares.slice(0, m), shares.slice(-m)])
          expect(await join(taken, '')).toBe(Buffer.from(secret).toString('hex'))
      }),
      { numRuns: 12 },
    )
  })
})

describe('wrong words', () => {
  const words = async () => {
    const parameters = { identifier: 1234, extendable: true, exponent: 0 }
    const [first = ''] = await split(systemEntropy.bytes(32), 3, 5, parameters)
    return numbers(first)
  }

  it('one is found wherever it stands', async () => {
    const good = await words()
    expect(good).toHaveLength(wordCountOf(32))
    for (let at = 0; at < good.length; at++) {
      const wrong = good.with(at, ((good[at] ?? 0) + 1 + 37 * at) % 1024)
      expect(decodeShare(wrong)).toBe('checksum')
      expect(wrongWordOf(wrong)).toBe(at)
    }
  })

  it('two or three are noticed, and two are never taken for one', async () => {
    const good = await words()
    const place = fc.integer({ min: 0, max: good.length - 1 })
    const places = fc.uniqueArray(place, { minLength: 2, maxLength: 3 })
    fc.assert(
      fc.property(places, fc.infiniteStream(fc.integer({ min: 1, max: 1023 })), (at, changes) => {
        const wrong = good.slice()
        for (const one of at) wrong[one] = (wrong[one] ?? 0) ^ (changes.next().value ?? 1)
        expect(decodeShare(wrong)).toBe('checksum')
        if (at.length === 2) expect(wrongWordOf(wrong)).toBeNull()
      }),
      { numRuns: 25 },
    )
  })
})
