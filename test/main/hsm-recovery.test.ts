import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, systemEntropy } from '../../src/base/environment.ts'
import { createEnvelope } from '../../src/hsm/envelope.ts'
import { parseRecipient, tokenRecipient } from '../../src/hsm/recipients.ts'
import { wordList } from '../../src/hsm/slip39/word-list.ts'
import { type RecoveryKeyOptions, recover, recoveryKey } from '../../src/main/hsm-recovery.ts'
import { generatePoint } from '../hsm/points.ts'
import { codeOf, secret } from '../hsm/support.ts'
import { atTerminal } from '../support/terminal.ts'

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')
const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-recovery-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))
const file = (name: string) => path.join(directory, name)

const passphrase = 'Yb3hvmYb0xKmFv_7G6S9b5Qnq8H7W7b0bq2kA0mTt5o'
const ports = { entropy: systemEntropy, clock: systemClock }
const none: RecoveryKeyOptions = {
  recoveryKeyFile: null,
  words: [],
  shares: undefined,
  threshold: undefined,
  cards: null,
  note: '',
  json: true,
}

interface Made {
  readonly recipient: string
  readonly fingerprint: string
  readonly shares: readonly string[]
  readonly cards: readonly string[]
}

async function run(action: string, options: Partial<RecoveryKeyOptions>, ...envelopes: readonly string[]) {
  const { result, text } = await recoveryKey(action, envelopes, { ...none, ...options }, ports)
  return { result: result as Made, text: text.join('\n') }
}

let made: Made
beforeAll(async () => {
  made = (await run('new', { recoveryKeyFile: file('whole.key'), shares: '3', threshold: '2' })).result
  made.shares.forEach((share, at) => {
    writeFileSync(file(`share-${at + 1}`), share)
  })
  const recipients = [
    tokenRecipient({ type: 'p256', point: generatePoint() }),
    parseRecipient(made.recipient),
  ]
  writeFileSync(file('nightly.e1.age'), await createEnvelope(secret(passphrase), recipients))
})

describe('recovery-key new', () => {
  it('makes a key whose file and whose shares are the same key', async () => {
    const recipient = execFileSync('age-keygen', ['-y', file('whole.key')], { encoding: 'latin1' }).trim()
    expect(recipient).toBe(made.recipient)
    expect(made.shares).toHaveLength(3)
    const again = await run('combine', { words: [file('share-3'), file('share-1')] })
    expect(`${again.text}\n`).toBe(readFileSync(file('whole.key'), 'latin1'))
    expect(statSync(file('whole.key')).mode & 0o777).toBe(0o600)
  })

  it('without anything else is words, one share that is the key', async () => {
    const { result, text } = await run('new', { note: 'kept by Alice' })
    expect(result.shares).toHaveLength(1)
    expect(text).toContain('kept by Alice')
    writeFileSync(file('one'), result.shares[0] ?? '')
    expect((await run('verify', { words: [file('one')] })).result.recipient).toBe(result.recipient)
  })

  it('writes cards that only their owner reads, and shows none of their words', async () => {
    mkdirSync(file('cards'))
    const options = { shares: '5', threshold: '3', cards: file('cards') }
    const { result, text } = await run('new', options)
    expect(result.shares).toBeUndefined()
    expect(readdirSync(file('cards'))).toHaveLength(5)
    for (const card of result.cards) {
      expect(statSync(card).mode & 0o777).toBe(0o600)
      expect(readFileSync(card, 'utf8')).toContain(result.fingerprint)
    }
    expect(text).not.toMatch(/\b\d+ [a-z]{4,8} +\d+ [a-z]{4,8}/)
  })

  it('replaces no file', async () => {
    expect(await codeOf(() => run('new', { recoveryKeyFile: file('whole.key') }))).toBe('FIELD_INVALID')
    expect(execFileSync('age-keygen', ['-y', file('whole.key')], { encoding: 'latin1' }).trim()).toBe(
      made.recipient,
    )
  })

  it.each([
    ['that is missing', () => file('not-mounted')],
    ['that is a file', () => file('whole.key')],
    ['that takes no files', () => '/proc'],
  ])('refuses a directory %s, and makes none', async (_, place) => {
    const refused = { code: 'HSM_RECOVERY_KEY_WRITE', hint: expect.stringContaining('mount') }
    await expect(run('new', { cards: place() })).rejects.toMatchObject(refused)
    const key = path.join(place(), 'new.key')
    await expect(run('new', { recoveryKeyFile: key })).rejects.toMatchObject(refused)
    expect(readdirSync(directory)).not.toContain('not-mounted')
  })

  it.each([
    ['no directory', { cards: '' }, 'FIELD_INVALID'],
    ['a threshold without shares', { threshold: '2' }, 'FIELD_INVALID'],
    ['more than there are', { threshold: '4', shares: '3' }, 'HSM_SHARES_SCHEME'],
    ['words for numbers', { threshold: 'two', shares: '3' }, 'HSM_SHARES_SCHEME'],
    ['a note that is no text', { note: 'a\nb' }, 'FIELD_INVALID'],
  ])('refuses %s, and leaves no file', async (_, options, code) => {
    const key = file('refused.key')
    expect(await codeOf(() => run('new', { recoveryKeyFile: key, ...options }))).toBe(code)
    expect(readdirSync(directory)).not.toContain('refused.key')
  })

  it('and nothing that there is not', async () => {
    expect(await codeOf(() => run('make', {}))).toBe('FIELD_INVALID')
  })
})

describe('recovery-key split', () => {
  it('makes other shares of the same key, which do not go with the former', async () => {
    const { result } = await run('split', { recoveryKeyFile: file('whole.key'), shares: '2', threshold: '2' })
    expect(result.recipient).toBe(made.recipient)
    writeFileSync(file('new-1'), result.shares[0] ?? '')
    writeFileSync(file('new-2'), result.shares[1] ?? '')
    expect((await run('verify', { words: [file('new-1'), file('new-2')] })).result.recipient).toBe(
      made.recipient,
    )
    expect(await codeOf(() => run('verify', { words: [file('new-1'), file('share-2')] }))).toBe(
      'HSM_SHARES_OTHER_KEY',
    )
  })
})

describe('recovery-key verify', () => {
  const words = () => [file('share-1'), file('share-2'), file('share-3')]

  it('opens the envelopes and shows neither key nor passphrase', async () => {
    const { result, text } = await run('verify', { words: words() }, file('nightly.e1.age'))
    expect(text).toContain(`opens         ${file('nightly.e1.age')}`)
    for (const shown of [text, JSON.stringify(result)]) {
      expect(shown).toContain(made.fingerprint)
      expect(shown).not.toContain(passphrase)
      expect(shown).not.toMatch(/AGE-SECRET-KEY/i)
    }
  })

  it('names the envelope that is for another key', async () => {
    await run('new', { recoveryKeyFile: file('other.key') })
    const source = { recoveryKeyFile: file('other.key') }
    await expect(run('verify', source, file('nightly.e1.age'))).rejects.toMatchObject({
      code: 'HSM_ENVELOPE_OTHER_KEY',
      message: expect.stringContaining('nightly.e1.age'),
    })
    expect(await codeOf(() => run('verify', { words: words() }, file('gone.age')))).toBe(
      'HSM_ENVELOPE_MISSING',
    )
    expect(await codeOf(() => run('verify', { ...source, words: words() }))).toBe('FIELD_INVALID')
    const asArgument = run('verify', { words: [made.shares[0] ?? ''] })
    await expect(asArgument).rejects.toMatchObject({
      code: 'FIELD_INVALID',
      message: 'a file that --words names is not there',
    })
  })
})

describe('recover', () => {
  it.each([
    ['a file', () => ({ recoveryKeyFile: file('whole.key'), words: [] })],
    ['words', () => ({ recoveryKeyFile: null, words: [file('share-2'), file('share-3')] })],
  ])('by %s gives the passphrase that stock age gives', async (_, source) => {
    const { text } = await recover(file('nightly.e1.age'), source())
    const stock = execFileSync('age', ['-d', '-i', file('whole.key'), file('nightly.e1.age')])
    expect(text).toEqual([stock.toString('latin1')])
    expect(text).toEqual([passphrase])
  })

  it('needs an envelope and a key', async () => {
    const source = { recoveryKeyFile: file('none.key'), words: [] }
    expect(await codeOf(() => recover(file('none.age'), source))).toBe('HSM_ENVELOPE_MISSING')
    expect(await codeOf(() => recover(file('nightly.e1.age'), source))).toBe('HSM_RECOVERY_KEY_INVALID')
  })

  it('takes words from a pipe, and tells what is wrong without telling words', () => {
    const recovered = (input: string) =>
      spawnSync(strongroom, ['hsm', 'recover', file('nightly.e1.age'), '--words', '-'], {
        input,
        encoding: 'utf8',
      })
    expect(recovered(made.shares.slice(1).join('\n'))).toMatchObject({ status: 0, stdout: `${passphrase}\n` })
    const { status, stdout, stderr } = recovered(`${made.shares[0]}\n`)
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' })
    expect(stderr).toContain('1 of 2 shares that are needed (HSM_SHARES_SHORT)')
    for (const word of made.shares[0]?.split(' ').filter(one => one.length > 6) ?? [])
      expect(stderr).not.toContain(word)
  })
})

describe('at a terminal', () => {
  it('words are typed share by share, and each mistake is told where it is', async () => {
    const [first = '', second = ''] = made.shares
    const words = second.split(' ')
    const wrong = wordList.find(word => !second.includes(word)) ?? ''
    const { code, shown } = await atTerminal(
      [strongroom, 'hsm', 'recover', file('nightly.e1.age')],
      [
        { after: /share 1, word 1: /, type: `${first}\r` },
        { after: /share 2, word 1: /, type: `${first}\r` },
        {
          after: /share 1 of the cards once more.*share 2, word 1: /s,
          type: `${words.slice(0, 5).join(' ')}\r`,
        },
        { after: /share 2, word 6: /, type: `${words[5]} strongroom\r` },
        {
          after: /share 2: word 7 is not in the list.*share 2, word 6: /s,
          type: `${words.with(19, wrong).slice(5).join(' ')}\r`,
        },
        { after: /word 20 is not the printed one\. Word 20: /, type: `${words[19]}\r` },
      ],
    )
    expect(code).toBe(0)
    // Each share is off the screen once it is taken.
    const screens = shown.split('\x1b[3J')
    expect(screens).toHaveLength(4)
    expect(screens.at(-1)).toMatch(new RegExp(`\n${passphrase}\r?\n$`))
  })

  it('verify asks for all shares there are', async () => {
    const [first = '', second = '', third = ''] = made.shares
    const { code, shown } = await atTerminal(
      [strongroom, 'hsm', 'recovery-key', 'verify', file('nightly.e1.age')],
      [
        { after: /share 1, word 1: /, type: `${second}\r` },
        { after: /share 2, word 1: /, type: `${first}\r` },
        { after: /share 3, word 1 \(Enter: there is no other\): /, type: `${third}\r` },
        { after: /share 4, word 1 \(Enter: there is no other\): /, type: '\r' },
      ],
    )
    expect(code).toBe(0)
    expect(shown).toContain(`opens         ${file('nightly.e1.age')}`)
  })

  it('^C ends it', async () => {
    const command = [strongroom, 'hsm', 'recovery-key', 'verify']
    const { code, shown } = await atTerminal(command, [{ after: /word 1: /, type: 'academic\x03' }])
    expect(code).toBe(130)
    expect(shown).toContain('CANCELLED')
  })

  it('shares are shown to one holder after another', async () => {
    const { code, shown } = await atTerminal(
      [strongroom, 'hsm', 'recovery-key', 'new', '--shares', '2', '--threshold', '2'],
      [
        { after: /share 1 of 2.*Enter clears the screen/s, type: '\r' },
        { after: /Enter shows share 2/, type: '\r' },
        { after: /Enter clears the screen/, type: '\r' },
      ],
    )
    expect(code).toBe(0)
    const [, one = '', , two = '', last = ''] = shown.split('\x1b[3J')
    expect(one).toContain('share 1 of 2')
    expect(one).not.toContain('share 2 of 2')
    expect(two).toContain('share 2 of 2')
    expect(last).toMatch(/recipient +age1/)
    expect(last).not.toContain('share')
  })
})
