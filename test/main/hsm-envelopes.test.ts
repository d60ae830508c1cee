import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemClock, systemEntropy } from '../../src/base/environment.ts'
import { initToken } from '../../src/hsm/commands.ts'
import { newRecoveryKey } from '../../src/hsm/recovery.ts'
import type { TokenProcess } from '../../src/hsm/token-process.ts'
import { envelopes, newEpoch, rewrap } from '../../src/main/hsm-envelopes.ts'
import { recoveryKey } from '../../src/main/hsm-recovery.ts'
import { codeOf, never, officerPin, secret, TestHsm } from '../hsm/support.ts'

const [hsm, other] = [new TestHsm(), new TestHsm()]
afterAll(() => {
  hsm.remove()
  other.remove()
})
const home = path.join(hsm.directory, 'home')
const portsOf = (token: TokenProcess) => ({
  token,
  pin: { isAttended: false, fetch: async () => secret(hsm.pin), refused() {} },
  entropy: systemEntropy,
  home,
})
const unsealed = async () => null
const [first, second] = [hsm.token(), other.token()]
const [recipients, shares]: [string[], string[]] = [[], []]

beforeAll(async () => {
  for (const token of [first, second]) {
    const made = await initToken(token, { officer: secret(officerPin), user: secret(hsm.pin) }, never)
    recipients.push(made.recipient)
  }
  const options = { recoveryKeyFile: null, words: [], cards: null, note: '', json: true }
  const split = { ...options, shares: '3', threshold: '2' }
  const { result } = await recoveryKey('new', [], split, { entropy: systemEntropy, clock: systemClock })
  const made = result as { readonly recipient: string; readonly shares: readonly string[] }
  recipients.push(made.recipient)
  for (const [at, share] of made.shares.entries()) {
    shares.push(path.join(hsm.directory, `share-${at}`))
    writeFileSync(shares[at] ?? '', share)
  }
})

describe('a key in shares, and nobody else', () => {
  it('an epoch is made for it, without a file for a key', async () => {
    const [, , recovery = ''] = recipients
    const options = { profile: 'nightly', recoveryKeyFile: null, recipients: [recovery] }
    const { result, text } = await newEpoch(portsOf(first), options, unsealed, never)
    expect(result).toMatchObject({ epoch: 1, recoveryKey: null })
    expect(text.join('\n')).toContain('for           1 token and 1 recovery key')
    expect(text.join('\n')).not.toContain('recovery key  ')
  })

  it('an epoch for nobody, or for what is no recipient, leaves neither key nor envelope', async () => {
    const keyFile = path.join(hsm.directory, 'nobody.key')
    for (const [recoveryKeyFile, named, code] of [
      [null, [], 'FIELD_INVALID'],
      [keyFile, ['age1nonsense'], 'HSM_RECIPIENT_INVALID'],
    ] as const) {
      const options = { profile: 'weekly', recoveryKeyFile, recipients: named }
      expect(await codeOf(() => newEpoch(portsOf(first), options, unsealed, never))).toBe(code)
    }
    expect((await envelopes(portsOf(first))).text).toHaveLength(1)
    expect(await codeOf(() => recoveryKeyFileOf(keyFile))).toBe('HSM_RECOVERY_KEY_INVALID')
  })

  it('its words let a new token in, and those who are left out are counted', async () => {
    const [one = '', , recovery = ''] = recipients
    const byWords = { recoveryKeyFile: null, words: shares.slice(1) }
    const options = { profile: 'nightly', epoch: null, recipients: [recovery], source: null }
    expect(await codeOf(() => rewrap(portsOf(second), options, never))).toBe('HSM_ENVELOPE_OTHER_KEY')
    const short = { ...options, source: { ...byWords, words: shares.slice(0, 1) } }
    expect(await codeOf(() => rewrap(portsOf(second), short, never))).toBe('HSM_SHARES_SHORT')

    const both = { ...options, source: byWords, recipients: [one, recovery] }
    const let2 = await rewrap(portsOf(second), both, never)
    expect(let2.text.join('\n')).toContain('for       2 tokens and 1 recovery key, this token among them')
    expect(let2.text.join('\n')).not.toContain('fewer')

    const only = await rewrap(portsOf(second), options, never)
    expect(only.text.join('\n')).toContain('before    2 tokens and 1 recovery key')
    expect(only.text.join('\n')).toContain('fewer than before')
    const list = await envelopes(portsOf(second))
    expect(list.text.map(line => line.replace(/ {2}[0-9a-f]{64}/, ''))).toEqual([
      'nightly  epoch 1  for 1 token and 1 recovery key',
      'nightly  epoch 1, revision 2  for 2 tokens and 1 recovery key',
      'nightly  epoch 1, revision 3  for 1 token and 1 recovery key',
    ])
  })

  it('another key opens nothing', async () => {
    using stranger = newRecoveryKey(systemEntropy)
    const keyFile = path.join(hsm.directory, 'stranger.key')
    writeFileSync(
      keyFile,
      stranger.identity.expose(bytes => Buffer.from(bytes)),
    )
    const source = { recoveryKeyFile: keyFile, words: [] }
    const options = { profile: 'nightly', epoch: 1, recipients: recipients.slice(2), source }
    expect(await codeOf(() => rewrap(portsOf(second), options, never))).toBe('HSM_ENVELOPE_OTHER_KEY')
  })
})

function recoveryKeyFileOf(recoveryKeyFile: string) {
  const options = { recoveryKeyFile, words: [], cards: null, note: '', json: true }
  const none = { ...options, shares: undefined, threshold: undefined }
  return recoveryKey('verify', [], none, { entropy: systemEntropy, clock: systemClock })
}
