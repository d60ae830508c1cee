import jsQR from 'jsqr'
import { describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { fingerprintOf } from '../../src/hsm/recipients.ts'
import { newRecoveryKey } from '../../src/hsm/recovery.ts'
import { type Card, cardHtml, cardText } from '../../src/hsm/recovery-card.ts'
import { splitRecoveryKey } from '../../src/hsm/recovery-shares.ts'
import { wordList } from '../../src/hsm/slip39/word-list.ts'
import { textOf } from './support.ts'

const key = newRecoveryKey(systemEntropy)
const scheme = { threshold: 2, count: 3 }
const made = await splitRecoveryKey(key.identity, scheme, systemEntropy)
const cards = made.map(
  (words, at): Card => ({
    ...scheme,
    number: at + 1,
    words: textOf(words),
    fingerprint: fingerprintOf(key.recipient),
    recipient: key.recipient.text,
    date: new Date('2026-11-27T12:00:00Z'),
    note: 'nightly, epoch 1 & <2>',
  }),
)

/** What a decoder that is not ours reads out of dark and light modules. */
function decoded(size: number, isDark: (x: number, y: number) => boolean): string {
  const scale = 4
  const width = size * scale
  const pixels = new Uint8ClampedArray(width * width * 4).fill(255)
  for (let y = 0; y < width; y++)
    for (let x = 0; x < width; x++)
      if (isDark(Math.floor(x / scale), Math.floor(y / scale)))
        pixels.fill(0, 4 * (y * width + x), 4 * (y * width + x) + 3)
  return jsQR.default(pixels, width, width)?.data ?? 'nothing was found'
}

function fromTerminal(lines: readonly string[]): string {
  const code = lines.filter(line => /^[█▀▄ ]{50,}$/.test(line))
  const isLight = (x: number, y: number) => {
    const half = code[y >> 1]?.[x]
    return half === '█' || half === (y % 2 === 0 ? '▀' : '▄')
  }
  return decoded(code[0]?.length ?? 0, (x, y) => !isLight(x, y) && y < (code[0]?.length ?? 0))
}

function fromSvg(html: string): string {
  const size = Number(/viewBox="0 0 (\d+) \1"/.exec(html)?.[1])
  const dark = new Set([...html.matchAll(/M(\d+),(\d+)h1v1h-1z/g)].map(([, x, y]) => `${x},${y}`))
  expect(dark.size).toBeGreaterThan(size)
  return decoded(size, (x, y) => dark.has(`${x},${y}`))
}

describe.each(cards)('the card of share $number', card => {
  const html = cardHtml(card)

  it('has a QR code on paper and one on the terminal, both with its words', () => {
    expect(fromSvg(html).toLowerCase()).toBe(card.words)
    expect(fromTerminal(cardText(card)).toLowerCase()).toBe(card.words)
  })

  it('has its words with their numbers, in order down the columns', () => {
    const cells = [...html.matchAll(/<td class="n">(\d+)<\/td><td>([a-z]+)<\/td>/g)]
    const inOrder = cells.toSorted(([, a], [, b]) => Number(a) - Number(b)).map(([, , word]) => word)
    expect(inOrder.join(' ')).toBe(card.words)
    expect(cells.slice(0, 3).map(([, number]) => number)).toEqual(['1', '12', '23'])
    const text = cardText(card).join('\n')
    card.words.split(' ').forEach((word, at) => {
      expect(text).toMatch(new RegExp(`(^| )${at + 1} ${word}\\b`, 'm'))
    })
  })

  it('says what it is, and which', () => {
    for (const shown of [
      `share ${card.number} of 3`,
      'any 2 of the 3 shares',
      card.fingerprint,
      card.recipient,
      '2026-11-27',
      'nightly, epoch 1 &amp; &lt;2&gt;',
    ])
      expect(html).toContain(shown)
    expect(cardText(card).join('\n')).toContain(`share ${card.number} of 3   ${card.fingerprint}`)
  })

  it('fits a terminal of 80 columns', () => {
    expect(Math.max(...cardText({ ...card, note: '' }).map(line => line.length))).toBeLessThanOrEqual(80)
  })

  it('loads and runs nothing, and is one page for no other share', () => {
    expect(html).not.toMatch(/<script|<link|<img|href=|src=|url\(|@import/i)
    expect(html).toContain("default-src 'none'")
    for (const other of cards) if (other !== card) expect(html).not.toContain(other.words.slice(30, 60))
  })
})

describe('a QR code', () => {
  it('has room for the longest words', () => {
    const longest = wordList.filter(word => word.length === 8).slice(0, 33)
    const words = longest.join(' ')
    expect(longest).toHaveLength(33)
    for (const card of cards.slice(0, 1))
      expect(fromSvg(cardHtml({ ...card, words })).toLowerCase()).toBe(words)
  })
})

describe('the card of a whole key', () => {
  it('says that it is the key', async () => {
    const [whole] = await splitRecoveryKey(key.identity, { threshold: 1, count: 1 }, systemEntropy)
    const [like] = cards
    if (whole === undefined || like === undefined) throw new Error('no card')
    const html = cardHtml({ ...like, words: textOf(whole), number: 1, threshold: 1, count: 1 })
    expect(html).toContain('these words alone are the key')
    expect(html).not.toMatch(/share \d+ of/)
  })
})
