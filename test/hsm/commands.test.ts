import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { parseProfileName } from '../../src/base/names.ts'
import { sha256Hex } from '../../src/crypto/digest.ts'
import {
  byRecoveryKey,
  byToken,
  initToken,
  listEnvelopes,
  makeKeys,
  newEpoch,
  rewrap,
} from '../../src/hsm/commands.ts'
import { doctor } from '../../src/hsm/doctor.ts'
import { createEnvelope } from '../../src/hsm/envelope.ts'
import { EnvelopeStore } from '../../src/hsm/envelope-store.ts'
import { parseRecipient } from '../../src/hsm/recipients.ts'
import { newRecoveryKey } from '../../src/hsm/recovery.ts'
import { codeOf, countingEntropy, never, officerPin, secret, TestHsm, textOf } from './support.ts'

const profile = parseProfileName('nightly')
const entropy = countingEntropy(5)

let hsm: TestHsm
let envelopes: EnvelopeStore
beforeEach(() => {
  hsm = new TestHsm()
  envelopes = new EnvelopeStore(path.join(hsm.directory, 'store'))
})
afterEach(() => hsm.remove())

describe('hsm init', () => {
  it('makes a token whose keys are the same ever after', async () => {
    const token = hsm.token()
    const made = await initToken(token, { officer: secret(officerPin), user: secret(hsm.pin) }, never)
    expect(made.recipient).toMatch(/^age1tag1[02-9ac-hj-np-z]{59}$/)
    expect(made.witnessKey).toMatch(/^[A-Za-z0-9+/]{43}=$/)
    expect(await makeKeys(token, never)).toEqual(made)
  })
})

describe('hsm new-epoch', () => {
  it('makes one envelope an epoch, with another passphrase each', async () => {
    const token = await hsm.prepared()
    const { identity, recipient } = newRecoveryKey(entropy)
    const ports = { envelopes, token, entropy }
    const first = await newEpoch(ports, profile, [recipient.text], never)
    const second = await newEpoch(ports, profile, [recipient.text], never)
    expect([first.epoch, second.epoch]).toEqual([1, 2])
    expect(await listEnvelopes(envelopes)).toEqual([first, second])
    const keyFile = path.join(hsm.directory, 'recovery.key')
    writeFileSync(keyFile, textOf(identity))
    const files = [first, second].map(({ epoch }) =>
      path.join(hsm.directory, `store/envelopes/nightly.e${epoch}.age`),
    )
    const passphrases = files.map(file =>
      execFileSync('age', ['-d', '-i', keyFile, file], { encoding: 'latin1' }),
    )
    expect(passphrases[0]).toMatch(/^[A-Za-z0-9_-]{43}$/)
    expect(passphrases[1]).not.toBe(passphrases[0])
    expect(sha256Hex(readFileSync(files[0] ?? ''))).toBe(first.digest)
  })

  it.each([
    ['without a recovery key', [], 'HSM_RECIPIENTS_SHORT'],
    ['for a recipient that is none', ['age1nonsense'], 'HSM_RECIPIENT_INVALID'],
  ])('%s is refused, and nothing is stored', async (_, recipients, code) => {
    const token = await hsm.prepared()
    expect(await codeOf(() => newEpoch({ envelopes, token, entropy }, profile, recipients, never))).toBe(code)
    expect(await envelopes.list()).toEqual([])
  })
})

describe('hsm rewrap', () => {
  it('gives the same passphrase to another recovery key, and touches nothing else', async () => {
    const token = await hsm.prepared()
    const [old, other] = [newRecoveryKey(entropy), newRecoveryKey(entropy)]
    const first = await newEpoch({ envelopes, token, entropy }, profile, [old.recipient.text], never)
    const before = readFileSync(envelopes.pathOf(first))
    const open = byToken(token, never)
    const made = await rewrap({ envelopes, token, open }, first, [other.recipient.text], never)
    expect(made).toMatchObject({ epoch: 1, revision: 2 })
    expect(readFileSync(envelopes.pathOf(first))).toEqual(before)
    const keyFile = path.join(hsm.directory, 'recovery.key')
    const opened = (key: typeof old, envelope: typeof first) => {
      writeFileSync(keyFile, textOf(key.identity))
      return execFileSync('age', ['-d', '-i', keyFile, envelopes.pathOf(envelope)], {
        encoding: 'latin1',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
    }
    expect(opened(other, made)).toBe(opened(old, first))
    expect(() => opened(old, made)).toThrow()
    // And both are found by what is sealed.
    for (const { digest } of [first, made]) expect(await envelopes.sealed(profile, 1, digest)).toBeDefined()
  })

  it('brings a new token in when the old one is gone, by the recovery key', async () => {
    const { identity, recipient } = newRecoveryKey(entropy)
    const lost = await hsm.prepared()
    const first = await newEpoch({ envelopes, token: lost, entropy }, profile, [recipient.text], never)
    const other = new TestHsm()
    try {
      const token = other.token()
      await token.initialise(secret(officerPin), secret(other.pin), never)
      await token.generateKeys(never)
      const byTheNew = () =>
        rewrap({ envelopes, token, open: byToken(token, never) }, first, [recipient.text], never)
      expect(await codeOf(byTheNew)).toBe('HSM_ENVELOPE_OTHER_KEY')
      const open = byRecoveryKey(identity)
      const made = await rewrap({ envelopes, token, open }, first, [recipient.text], never)
      using passphrase = await byToken(token, never)(await envelopes.get(made))
      using before = await byToken(lost, never)(await envelopes.get(first))
      expect(textOf(passphrase)).toBe(textOf(before))
    } finally {
      other.remove()
    }
  })

  it('takes in a second token, and lets go of it and of a recovery key', async () => {
    const [kept, gone] = [newRecoveryKey(entropy), newRecoveryKey(entropy)]
    const [first, second] = [await hsm.prepared(), new TestHsm()]
    try {
      const other = second.token()
      const officer = secret(officerPin)
      const { recipient } = await initToken(other, { officer, user: secret(second.pin) }, never)
      const everybody = [kept.recipient.text, gone.recipient.text]
      const made = await newEpoch({ envelopes, token: first, entropy }, profile, everybody, never)
      expect(made.recipients).toEqual({ tokens: 1, recoveryKeys: 2 })
      const ports = { envelopes, token: first, open: byToken(first, never) }
      const open = (token: typeof first, one: typeof made) =>
        envelopes.get(one).then(async bytes => textOf(await byToken(token, never)(bytes)))

      const both = await rewrap(ports, made, [recipient, ...everybody], never)
      expect(both).toMatchObject({
        before: { tokens: 1, recoveryKeys: 2 },
        recipients: { tokens: 2, recoveryKeys: 2 },
      })
      expect(await open(other, both)).toBe(await open(first, made))

      const fewer = await rewrap(ports, made, [kept.recipient.text], never)
      expect(fewer).toMatchObject({ revision: 3, recipients: { tokens: 1, recoveryKeys: 1 } })
      expect(await open(first, fewer)).toBe(await open(first, made))
      expect(await codeOf(() => open(other, fewer))).toBe('HSM_ENVELOPE_OTHER_KEY')
      const bytes = await envelopes.get(fewer)
      expect(await codeOf(() => byRecoveryKey(gone.identity)(bytes))).toBe('HSM_ENVELOPE_OTHER_KEY')
      expect(textOf(await byRecoveryKey(kept.identity)(bytes))).toBe(await open(first, made))
    } finally {
      second.remove()
    }
  })

  it('is refused when somebody has put an envelope of his own in the place of the newest', async () => {
    const token = await hsm.prepared()
    const { recipient } = newRecoveryKey(entropy)
    const ports = { envelopes, token, entropy, open: byToken(token, never) }
    const first = await newEpoch(ports, profile, [recipient.text], never)
    // All that it takes is the token's recipient, which is no secret.
    const own = parseRecipient((await makeKeys(token, never)).recipient)
    const his = await createEnvelope(secret('known to whoever has put it there'), [own, recipient])
    await envelopes.put({ ...first, revision: 2 }, his)
    const again = () => rewrap(ports, first, [recipient.text], never)
    expect(await codeOf(again)).toBe('HSM_ENVELOPE_MISMATCH')
    expect((await listEnvelopes(envelopes)).map(({ revision }) => revision)).toEqual([1, 2])
  })

  it('without any recovery key is refused, and of an epoch that is not there', async () => {
    const token = await hsm.prepared()
    const { recipient } = newRecoveryKey(entropy)
    const first = await newEpoch({ envelopes, token, entropy }, profile, [recipient.text], never)
    const ports = { envelopes, token, open: byToken(token, never) }
    expect(await codeOf(() => rewrap(ports, first, [], never))).toBe('HSM_RECIPIENTS_SHORT')
    expect(await codeOf(() => rewrap(ports, { ...first, epoch: 7 }, [recipient.text], never))).toBe(
      'HSM_ENVELOPE_MISSING',
    )
    expect(await envelopes.list()).toHaveLength(1)
  })
})

describe('hsm doctor', () => {
  const both = { opens: true, witnesses: true }

  it('finds a good token good', async () => {
    const findings = await doctor(await hsm.prepared(), both, never)
    expect(findings.filter(({ ok }) => ok === false)).toEqual([])
    expect(findings[0]?.text).toContain("token 'strongroom-test', SoftHSM project")
  })

  it('finds what is missing in an empty one', async () => {
    const token = hsm.token()
    await token.initialise(secret(officerPin), secret(hsm.pin), never)
    const missing = (await doctor(token, both, never))
      .filter(({ ok }) => ok === false)
      .map(({ text }) => text)
    expect(missing).toEqual(['has not the wrapping key', 'has not the witness key'])
  })
})
