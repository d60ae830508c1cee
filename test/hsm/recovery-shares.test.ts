import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import Slip39 from 'slip39'
import { afterAll, describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { fingerprintOf } from '../../src/hsm/recipients.ts'
import { newRecoveryKey, recoveryKeyOf, scalarOf } from '../../src/hsm/recovery.ts'
import { ShareSet, splitRecoveryKey } from '../../src/hsm/recovery-shares.ts'
import { addShares } from '../../src/hsm/share-text.ts'
import { decodeShare, encodeShare, type Share } from '../../src/hsm/slip39/share.ts'
import { wordList } from '../../src/hsm/slip39/word-list.ts'
import { codeOf, countingEntropy, secret, textOf } from './support.ts'

const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-shares-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const key = newRecoveryKey(systemEntropy)

async function split(threshold: number, count: number, of = key): Promise<string[]> {
  return (await splitRecoveryKey(of.identity, { threshold, count }, systemEntropy)).map(textOf)
}

/** The identity that the shares make, or the code and message of what is wrong. */
async function join(text: string): Promise<string> {
  using set = new ShareSet()
  try {
    addShares(set, text)
    using joined = await set.join()
    return textOf(joined.identity)
  } catch (error) {
    return error instanceof Error && 'code' in error ? `${error.code}: ${error.message}` : String(error)
  }
}

/** As somebody else could print it, with check words that fit. */
function forged(of: string, change: Partial<Share>): string {
  const decoded = decodeShare(Uint16Array.from(of.split(' '), word => wordList.indexOf(word)))
  if (typeof decoded === 'string') throw new Error(decoded)
  return [...encodeShare({ ...decoded, ...change })].map(number => wordList[number]).join(' ')
}

function withWord(share: string, place: number, word: string): string {
  return share
    .split(' ')
    .with(place - 1, word)
    .join(' ')
}

const shares = await split(3, 5)
const [first = '', second = '', third = '', fourth = '', fifth = ''] = shares

describe('shares of a recovery key', () => {
  it('make it, whichever are taken and in any order', async () => {
    for (const taken of [
      [first, second, third],
      [fifth, second, fourth],
      [third, first, fifth],
    ])
      expect(await join(taken.join('\n'))).toBe(textOf(key.identity))
  })

  it('that are forged with check words that fit are refused, and make nobody wait', async () => {
    const alone = (await split(1, 1))[0] ?? ''
    const value = systemEntropy.bytes(32)
    expect(await join([alone, forged(alone, { index: 1, value })].join('\n'))).toMatch(/^HSM_SHARES_INVALID/)
    expect(await join([alone, forged(alone, { index: 1 })].join('\n'))).toMatch(/^AGE-SECRET-KEY-1/)
    // 15 would be minutes of computing that ^C does not end.
    expect(await join(forged(alone, { exponent: 15 }))).toMatch(/^HSM_SHARE_FOREIGN/)
    expect(await join(forged(alone, { group: { index: 7, threshold: 1, count: 1 } }))).toMatch(
      /^HSM_SHARE_FOREIGN/,
    )
    for (const change of [{ value }, { index: 4, value }])
      expect(await join([first, second, forged(third, change)].join('\n'))).toMatch(/^HSM_SHARES_INVALID/)
  })

  it('beyond the threshold have to fit as well', async () => {
    expect(await join(shares.join('\n\n'))).toBe(textOf(key.identity))
  })

  it('have 33 words each and are all different', () => {
    expect(shares.every(share => share.split(' ').length === 33)).toBe(true)
    expect(new Set(shares).size).toBe(5)
  })

  it.each([
    [1, 1],
    [2, 2],
    [2, 16],
    [16, 16],
  ])('%i of %i', async (threshold, count) => {
    const made = await split(threshold, count)
    expect(made).toHaveLength(count)
    expect(await join(made.slice(-threshold).join('\n'))).toBe(textOf(key.identity))
  })

  it.each([
    [0, 1],
    [1, 2],
    [3, 2],
    [2, 17],
    [1.5, 2],
    [Number.NaN, 3],
  ])('%d of %d is refused', async (threshold, count) => {
    expect(await codeOf(() => split(threshold, count))).toBe('HSM_SHARES_SCHEME')
  })

  it('are other ones each time', async () => {
    expect((await split(3, 5)).filter(share => shares.includes(share))).toEqual([])
  })

  it('are joined by another implementation to the key that stock age knows', async () => {
    const bytes = Buffer.from(Slip39.recoverSecret([second, fourth, fifth], ''))
    const theirs = newRecoveryKey({ bytes: () => new Uint8Array(bytes) })
    const file = path.join(directory, 'theirs.key')
    writeFileSync(file, `${textOf(theirs.identity)}\n`)
    const recipient = execFileSync('age-keygen', ['-y', file], { encoding: 'latin1' }).trim()
    expect(recipient).toBe(key.recipient.text)
  })
})

describe('words that were written down once', () => {
  const vector = JSON.parse(
    readFileSync(path.join(import.meta.dirname, '../vectors/slip39/recovery-key.json'), 'utf8'),
  ) as {
    readonly identity: string
    readonly recipient: string
    readonly sets: readonly { readonly threshold: number; readonly shares: readonly string[] }[]
  }

  it.each(vector.sets)('are the same key ever after, $threshold of them', async ({ threshold, shares }) => {
    expect(await join(shares.slice(-threshold).join('\n'))).toBe(vector.identity)
    expect(await join(shares.join('\n'))).toBe(vector.identity)
  })

  it('whose recipient envelopes are for', () => {
    const scalar = scalarOf(secret(vector.identity))
    expect(recoveryKeyOf(scalar).recipient.text).toBe(vector.recipient)
  })
})

describe('as people write them', () => {
  const lines = (share: string, of: number) =>
    (share.match(new RegExp(`(\\S+ ?){1,${of}}`, 'g')) ?? []).join('\n')
  it.each([
    ['in capitals', (share: string) => share.toUpperCase()],
    ['with four letters a word', (share: string) => share.replace(/[a-z]+/g, word => word.slice(0, 4))],
    ['in lines of four', (share: string) => lines(share, 4)],
    [
      'with numbers',
      (share: string) =>
        share
          .split(' ')
          .map((word, at) => `${at + 1}. ${word}`)
          .join('\n'),
    ],
    ['with comments', (share: string) => `# of Alice\n${share}\r`],
  ])('%s', async (_, written) => {
    expect(await join([first, fourth, fifth].map(written).join('\n\n'))).toBe(textOf(key.identity))
  })
})

describe('what does not fit is told, and never makes another key', () => {
  const rest = `${second}\n${third}`
  const other = newRecoveryKey(countingEntropy(3))

  it.each([
    ['too few', `${first}\n${second}`, /^HSM_SHARES_SHORT: 2 of 3 shares/],
    ['none', '\n', /^HSM_SHARES_SHORT: no share/],
    ['the same twice', `${first}\n${second}\n${first}`, /^HSM_SHARE_TWICE: share 3 is share 1 of the cards/],
    [
      'a word that there is not',
      `${first}\n${withWord(second, 7, 'strongroom')}`,
      /^HSM_WORD_UNKNOWN: share 2: word 7 /,
    ],
    ['a word cut too short', withWord(first, 3, 'aca'), /^HSM_WORD_UNKNOWN: share 1: word 3 /],
    ['a word with letters added', withWord(first, 3, 'academicx'), /^HSM_WORD_UNKNOWN: share 1: word 3 /],
    [
      'a word left out',
      `${first.replace(/ \S+$/, '')}\n\n${rest}`,
      /^HSM_SHARE_LENGTH: share 1 has 32 words/,
    ],
    [
      'a word left out, then another share',
      `${first.replace(/ \S+$/, '')}\n${rest}`,
      /^HSM_SHARE_LENGTH: .* 65 /,
    ],
    [
      'a wallet’s words',
      'duckling enlarge academic academic agency result length solution fridge kidney coal piece deal husband erode duke ajar critical decision keyboard',
      /^HSM_SHARE_LENGTH: share 1 has 20 words/,
    ],
  ])('%s', async (_, text, expected) => {
    expect(await join(text)).toMatch(expected)
  })

  it('one wrong word: its number is told, the word itself never', async () => {
    const wrong = wordList.find(word => !first.includes(word)) ?? ''
    for (const place of [1, 2, 14, 33]) {
      const told = await join(`${withWord(first, place, wrong)}\n${rest}`)
      expect(told).toBe(`HSM_SHARE_DAMAGED: share 1: word ${place} is not the printed one`)
    }
  })

  it('two words in each other’s place', async () => {
    const words = first.split(' ')
    const swapped = words
      .with(8, words[9] ?? '')
      .with(9, words[8] ?? '')
      .join(' ')
    expect(await join(`${swapped}\n${rest}`)).toMatch(/^HSM_SHARE_DAMAGED: share 1: two words or more/)
  })

  it('shares of another key, and of the same key split again', async () => {
    for (const of of [other, key]) {
      const [foreign = ''] = await split(3, 5, of)
      expect(await join(`${foreign}\n${rest}`)).toMatch(/^HSM_SHARES_OTHER_KEY: share 2 /)
    }
  })

  it('a share of a group of shares', async () => {
    const [of = ''] = Slip39.fromArray([...systemEntropy.bytes(32)], {
      threshold: 2,
      groups: [
        [1, 1],
        [2, 3],
      ],
      extendableBackupFlag: 1,
    }).fromPath('r/1').mnemonics
    expect(await join(of)).toMatch(/^HSM_SHARE_FOREIGN: /)
  })

  it('shares that belong together by number, by chance or by forgery', async () => {
    const numbered = {
      bytes: (length: number) => (length === 2 ? new Uint8Array(2) : systemEntropy.bytes(length)),
    }
    const [mine, theirs] = await Promise.all(
      [key, other].map(async ({ identity }) =>
        (await splitRecoveryKey(identity, { threshold: 2, count: 3 }, numbered)).map(textOf),
      ),
    )
    expect(await join(`${mine?.[0]}\n${theirs?.[1]}`)).toMatch(/^HSM_SHARES_INVALID: the 2 shares/)
    // And a third one that is not on the line of two good ones.
    expect(await join(`${mine?.[0]}\n${mine?.[1]}\n${theirs?.[2]}`)).toMatch(
      /^HSM_SHARES_INVALID: the 3 shares/,
    )
  })

  it('any words whatever', async () => {
    const word = fc.constantFrom(...wordList)
    await fc.assert(
      fc.asyncProperty(fc.array(word, { minLength: 1, maxLength: 70 }), async words => {
        expect(await join(words.join(' '))).toMatch(/^HSM_(SHARE_LENGTH|SHARE_DAMAGED|SHARES_SHORT)/)
      }),
      { numRuns: 30 },
    )
  })
})

describe('a fingerprint', () => {
  it('is 16 digits of the SHA-256 of the recipient', () => {
    const sum = execFileSync('sha256sum', { input: key.recipient.text, encoding: 'latin1' })
    expect(fingerprintOf(key.recipient).replaceAll('-', '')).toBe(sum.slice(0, 16))
    expect(fingerprintOf(key.recipient)).toMatch(/^([0-9a-f]{4}-){3}[0-9a-f]{4}$/)
  })

  it('needs a key to begin with', async () => {
    expect(
      await codeOf(() =>
        splitRecoveryKey(secret('AGE-SECRET-KEY-1'), { threshold: 2, count: 3 }, systemEntropy),
      ),
    ).toBe('HSM_RECOVERY_KEY_INVALID')
  })
})
