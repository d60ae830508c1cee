import { open } from 'node:fs/promises'
import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import type { Clock, Entropy } from '../base/environment.ts'
import { errnoOf, printable } from '../base/errors.ts'
import { syncDirectory } from '../base/files.ts'
import { Secret } from '../base/secret.ts'
import { readEnvelope, readRecoveryKey } from '../hsm/commands.ts'
import { openWithRecoveryKey } from '../hsm/envelope.ts'
import { HsmError } from '../hsm/errors.ts'
import { fingerprintOf } from '../hsm/recipients.ts'
import { newRecoveryKey, type RecoveryKey, recoveryKeyOf, scalarOf } from '../hsm/recovery.ts'
import { type Card, cardHtml, cardText } from '../hsm/recovery-card.ts'
import { requireScheme, type Scheme, splitRecoveryKey } from '../hsm/recovery-shares.ts'
import type { hsmUsage } from '../usage/hsm.ts'
import { AskedLines, clearTerminal } from './ask.ts'
import { type Answer, missing } from './command-line.ts'
import { type Amount, keyFromWords } from './recovery-words.ts'

/* `strongroom hsm recovery-key` and `recover`: on any machine, best one without a network. No settings, no token. */

const noteLengthMax = 200

type Action = keyof (typeof hsmUsage.commands)['recovery-key']['actions']

/** Where a recovery key comes from: at most one of both. */
export interface RecoverySource {
  readonly recoveryKeyFile: string | null
  /** Files of words; `-` for standard input. */
  readonly words: readonly string[]
}

export interface RecoveryKeyOptions extends RecoverySource {
  readonly shares: string | undefined
  readonly threshold: string | undefined
  /** The directory for cards; `null`: on the terminal. */
  readonly cards: string | null
  readonly note: string
  readonly json: boolean
}

export interface RecoveryPorts {
  readonly entropy: Entropy
  readonly clock: Clock
}

/** The key of whoever has the file or the words; without either, the words are asked for. */
export async function recoveryKeyFrom(
  { recoveryKeyFile, words }: RecoverySource,
  amount: Amount = 'enough',
): Promise<RecoveryKey> {
  if (recoveryKeyFile === null) return keyFromWords(words.length === 0 ? ['-'] : words, amount)
  if (words.length > 0)
    throw new BaseError('FIELD_INVALID', 'a recovery key comes from --recovery-key or from --words, not both')
  using identity = await readRecoveryKey(recoveryKeyFile)
  const scalar = scalarOf(identity)
  try {
    return recoveryKeyOf(scalar)
  } finally {
    scalar.fill(0)
  }
}

export async function recoveryKey(
  untrustedAction: string | undefined,
  envelopes: readonly string[],
  options: RecoveryKeyOptions,
  ports: RecoveryPorts,
): Promise<Answer> {
  const actions: Record<Action, () => Promise<Answer>> = {
    new: () => make(options, ports),
    split: () => split(options, ports),
    combine: () => combine(options),
    verify: () => verify(options, envelopes),
  }
  const action = (Object.keys(actions) as Action[]).find(one => one === untrustedAction)
  if (action !== undefined) return await actions[action]()
  throw new BaseError(
    'FIELD_INVALID',
    `recovery-key does ${Object.keys(actions).join(', ')}, not '${printable(untrustedAction ?? '')}'`,
    { hint: 'see strongroom hsm --help' },
  )
}

async function make(options: RecoveryKeyOptions, ports: RecoveryPorts): Promise<Answer> {
  const { recoveryKeyFile, shares, threshold, cards } = options
  const scheme = schemeOf(options)
  using key = newRecoveryKey(ports.entropy)
  if (recoveryKeyFile !== null) await writeNew(recoveryKeyFile, key.identity)
  const onlyFile = recoveryKeyFile !== null && (shares ?? threshold ?? cards) === null
  const given = onlyFile ? { result: {}, text: [] } : await giveShares(key, scheme, options, ports)
  return described(key, given, recoveryKeyFile)
}

async function split(options: RecoveryKeyOptions, ports: RecoveryPorts): Promise<Answer> {
  const scheme = schemeOf(options)
  using key = await recoveryKeyFrom(options)
  return described(key, await giveShares(key, scheme, options, ports), null)
}

/** What the words are: an identity of age, for stock `age -d -i`. */
async function combine({ recoveryKeyFile, words }: RecoveryKeyOptions): Promise<Answer> {
  using key = await recoveryKeyFrom({ recoveryKeyFile: null, words })
  if (recoveryKeyFile === null) {
    const identity = textOf(key.identity)
    return { result: { recipient: key.recipient.text, identity }, text: [identity] }
  }
  await writeNew(recoveryKeyFile, key.identity)
  return described(key, { result: {}, text: [] }, recoveryKeyFile)
}

/** That a key is sound and opens envelopes. Nothing of it is shown but what everybody may know. */
async function verify(source: RecoverySource, envelopes: readonly string[]): Promise<Answer> {
  using key = await recoveryKeyFrom(source, 'all')
  for (const file of envelopes) {
    using _ = await openWithRecoveryKey(await readEnvelope(file), key.identity).catch(cause => {
      if (!(cause instanceof HsmError)) throw cause
      throw new HsmError(cause.code, `${printable(file)}: ${cause.message}`, { cause })
    })
  }
  const text =
    envelopes.length === 0
      ? ['opens         no envelope was named: compare the fingerprint with the card']
      : envelopes.map(file => `opens         ${printable(file)}`)
  return described(key, { result: { opens: envelopes }, text }, null)
}

/** Prints a passphrase: for a rescue, by whoever holds the recovery key. */
export async function recover(envelopeFile: string, source: RecoverySource): Promise<Answer> {
  const envelope = await readEnvelope(envelopeFile)
  using key = await recoveryKeyFrom(source)
  using passphrase = await openWithRecoveryKey(envelope, key.identity)
  const text = textOf(passphrase)
  return { result: { passphrase: text }, text: [text] }
}

function described(
  { recipient }: RecoveryKey,
  more: { readonly result: object; readonly text: readonly string[] },
  file: string | null,
): Answer {
  const facts = { recipient: recipient.text, fingerprint: fingerprintOf(recipient) }
  return {
    result: { ...facts, ...(file === null ? {} : { recoveryKey: file }), ...more.result },
    text: [
      `recovery key  ${facts.fingerprint}`,
      `recipient     ${facts.recipient}`,
      ...(file === null ? [] : [`file          ${file}`]),
      ...more.text,
    ],
  }
}

/** Before anything is made. */
function schemeOf({ shares, threshold, cards, note }: RecoveryKeyOptions): Scheme {
  // What an unset variable of a shell gives; the cards would be written where the person happens to be.
  if (cards === '') missing('the directory of --cards')
  if (note.length > noteLengthMax || note !== printable(note))
    throw new BaseError('FIELD_INVALID', `--note is at most ${noteLengthMax} printable characters`, {
      hint: 'name what the key is for in a few words; the rest belongs with the envelope',
    })
  if (shares === undefined && threshold === undefined) return { threshold: 1, count: 1 }
  const scheme = {
    threshold: Number(threshold ?? missing('--threshold')),
    count: Number(shares ?? missing('--shares')),
  }
  requireScheme(scheme)
  return scheme
}

async function giveShares(
  key: RecoveryKey,
  scheme: Scheme,
  { cards: directory, note, json }: RecoveryKeyOptions,
  { entropy, clock }: RecoveryPorts,
): Promise<{ readonly result: object; readonly text: readonly string[] }> {
  const shares = await splitRecoveryKey(key.identity, scheme, entropy)
  const cards = shares.map((words, at): Card => {
    const text = textOf(words)
    words.dispose()
    const { recipient } = key
    const facts = {
      fingerprint: fingerprintOf(recipient),
      recipient: recipient.text,
      date: clock.now(),
      note,
    }
    return { ...scheme, ...facts, number: at + 1, words: text }
  })
  if (directory !== null) return writeCards(cards, directory)
  if (!json && process.stdin.isTTY && process.stdout.isTTY) {
    await showInTurn(cards)
    return { result: {}, text: [] }
  }
  return {
    result: { ...scheme, shares: cards.map(({ words }) => words) },
    text: cards.flatMap(card => ['', ...cardText(card)]),
  }
}

async function writeCards(cards: readonly Card[], directory: string) {
  const files = []
  for (const card of cards) {
    const file = path.join(
      directory,
      `recovery-${card.fingerprint.slice(0, 9)}-${card.number}-of-${card.count}.html`,
    )
    using html = Secret.take(utf8(cardHtml(card)))
    await writeNew(file, html)
    files.push(file)
  }
  const [first] = cards
  return {
    result: { threshold: first?.threshold, cards: files },
    text: [
      ...files.map(file => `card          ${file}`),
      'careful       whoever reads these files has the shares: print them where nothing is kept, and remove them',
    ],
  }
}

/** One holder after another: nobody sees the share of another. */
async function showInTurn(cards: readonly Card[]): Promise<void> {
  using lines = new AskedLines()
  for (const card of cards) {
    clearTerminal()
    process.stdout.write(`${cardText(card).join('\n')}\n\n`)
    await lines.ask(`written down, and compared? Enter clears the screen `)
    clearTerminal()
    if (card.number < card.count) await lines.ask(`Enter shows share ${card.number + 1} to its holder `)
  }
}

/**
 * With mode 0600, durable when it resolves, and never in the place of another file. The directory is there already, else
 * `HSM_RECOVERY_KEY_WRITE`.
 */
export async function writeNew(file: string, content: Secret): Promise<void> {
  try {
    const handle = await open(file, 'wx', 0o600)
    try {
      using text = Secret.take(content.expose(bytes => Uint8Array.of(...bytes, 0x0a)))
      await text.expose(bytes => handle.writeFile(bytes))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await syncDirectory(path.dirname(path.resolve(file)))
  } catch (cause) {
    const name = printable(file)
    if (errnoOf(cause) === 'EEXIST')
      throw new BaseError('FIELD_INVALID', `${name} exists; a recovery key is never replaced`, {
        cause,
        hint: 'name another file',
      })
    throw new HsmError(
      'HSM_RECOVERY_KEY_WRITE',
      `${name} could not be written: ${errnoOf(cause) ?? 'no errno'}`,
      { cause },
    )
  }
}

function textOf(secret: Secret): string {
  return secret.expose(bytes => Buffer.from(bytes).toString('latin1'))
}
