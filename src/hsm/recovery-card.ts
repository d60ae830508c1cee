import { renderSVG, renderUnicodeCompact } from 'uqr'
import { html } from '../base/html.ts'
import type { Scheme } from './recovery-shares.ts'

/*
 * What a holder of a share is given: words with their numbers, the same words as a QR code, and what they are. Two forms: text for
 * a terminal, one printed page in HTML that loads nothing and runs nothing.
 */

const [columns, border] = [3, 4]
/** The error correction of the QR code: what a fold or a stain takes may be 15 %. */
const correction = 'M'

export interface Card extends Scheme {
  /** From 1 to `count`. */
  readonly number: number
  /** Separated by spaces. */
  readonly words: string
  readonly fingerprint: string
  /** `age1…` */
  readonly recipient: string
  readonly date: Date
  /** What the key is for, in whoever's words; may be empty. */
  readonly note: string
}

export function cardText(card: Card): readonly string[] {
  return [
    `${titleOf(card)}   ${card.fingerprint}`,
    ...(card.note === '' ? [] : [card.note]),
    `${dayOf(card)}   ${useOf(card)}`,
    '',
    ...wordRows(card).map(row =>
      row
        .map(({ number, word }) => `${String(number).padStart(4)} ${word.padEnd(10)}`)
        .join('')
        .trimEnd(),
    ),
    '',
    ...renderUnicodeCompact(codeText(card), { ecc: correction, border }).split('\n'),
  ]
}

export function cardHtml(card: Card): string {
  const rows = wordRows(card).map(
    row =>
      html`<tr>${row.map(({ number, word }) => html`<td class="n">${number}</td><td>${word}</td>`)}</tr>
`,
  )
  const facts = [
    ['Key', card.fingerprint],
    ['Made on', dayOf(card)],
    ...(card.note === '' ? [] : [['For', card.note]]),
    ['Needed', useOf(card)],
    ['Recipient', card.recipient],
  ]
  const { markup } = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${titleOf(card)}, ${card.fingerprint}</title>
<style>
@page { size: A4; margin: 15mm }
body { font: 10.5pt/1.4 sans-serif; color: #000; background: #fff; max-width: 180mm; margin: 0 auto }
h1 { font-size: 17pt; margin: 0 0 3mm }
dl { display: grid; grid-template-columns: 24mm 1fr; gap: 1mm; margin: 0 0 4mm }
dt { font-weight: bold }
dd { margin: 0; overflow-wrap: anywhere }
table { border-collapse: collapse; font: bold 13pt/1.5 monospace; width: 100%; margin: 0 0 4mm }
td { border-bottom: 1px solid #bbb }
td.n { color: #555; font-weight: normal; text-align: right; padding-right: 3mm; width: 9mm }
svg { width: 62mm; float: left; margin: 0 6mm 0 0 }
li { margin-bottom: 1.5mm }
</style>
</head>
<body>
<h1>${titleOf(card)}</h1>
<dl>
${facts.map(([name = '', value = '']) => html`<dt>${name}</dt><dd>${value}</dd>\n`)}</dl>
<table>
${rows}</table>
${{ markup: renderSVG(codeText(card), { ecc: correction, border, pixelSize: 1 }) }}
<ol style="list-style-position: inside; padding: 0">
${instructionsFor(card).map(line => html`<li>${line}</li>\n`)}</ol>
</body>
</html>
`
  return markup
}

/** Capitals: a QR code has a form for them that is a third smaller. Every tool of the standard takes them as words. */
function codeText({ words }: Card): string {
  return words.toUpperCase()
}

function titleOf({ number, count }: Card): string {
  return count === 1 ? 'Strongroom recovery key' : `Strongroom recovery key, share ${number} of ${count}`
}

function useOf({ threshold, count }: Card): string {
  return count === 1
    ? 'these words alone are the key'
    : `any ${threshold} of the ${count} shares make the key; fewer tell nothing about it`
}

function instructionsFor({ count }: Card): readonly string[] {
  return [
    'These words open the passphrases of encrypted backups when every token is lost. The order counts, capitals do not. The code holds the same words.',
    count === 1
      ? 'Keep it locked away, not with the backups, and show it to nobody. Never photograph it; never type it into a machine that has a network.'
      : 'Keep it locked away, not with another share and not with the backups. Never photograph it; never type it into a machine that has a network.',
    'To test, once a year: strongroom hsm recovery-key verify ENVELOPE',
    'To use: strongroom hsm recover ENVELOPE. Without Strongroom: join the words with any SLIP-39 tool, without a passphrase; the 32 bytes, written in Bech32 with the prefix AGE-SECRET-KEY-, are an identity for age.',
    'If it is lost, or somebody has seen it: tell the owner of the backups, who makes another key.',
  ]
}

/** Numbered down the columns, as people read. */
function wordRows({
  words,
}: Card): readonly (readonly { readonly number: number; readonly word: string }[])[] {
  const list = words.split(' ').map((word, at) => ({ number: at + 1, word }))
  const height = Math.ceil(list.length / columns)
  return Array.from({ length: height }, (_, row) => list.filter((_one, at) => at % height === row))
}

function dayOf({ date }: Card): string {
  return date.toISOString().slice(0, 10)
}
