import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { systemEntropy } from '../../src/base/environment.ts'
import { Untrusted } from '../../src/base/untrusted.ts'
import { verifyEd25519, verifySignature } from '../../src/crypto/signature.ts'
import { doctor } from '../../src/hsm/doctor.ts'
import { createEnvelope, openWithToken } from '../../src/hsm/envelope.ts'
import { type PinRefusals, refusalsIn } from '../../src/hsm/pin-refusals.ts'
import { parseRecipient, tokenRecipient } from '../../src/hsm/recipients.ts'
import { newRecoveryKey } from '../../src/hsm/recovery.ts'
import { tokenSigner } from '../../src/hsm/seal-signer.ts'
import { requireWrappingKey, tokenKey } from '../../src/hsm/token-key.ts'
import { TokenProcess } from '../../src/hsm/token-process.ts'
import { maySkip } from '../support/may-skip.ts'
import { type RunningModule, temporary } from './modules/module.ts'
import { nssKind } from './modules/nss.ts'
import { openCryptokiKind } from './modules/opencryptoki.ts'
import { softHsmKind } from './modules/softhsm.ts'
import { tpm2Kind } from './modules/tpm2.ts'
import { codeOf, countingEntropy, never, secret, textOf } from './support.ts'
import { killTokenHosts } from './token-hosts.ts'
import { World } from './world.ts'

/* What a token has to do, whatever module it comes with. */

const passphrase = 'Yb3hvmYb0xKmFv_7G6S9b5Qnq8H7W7b0bq2kA0mTt5o'
const recovery = newRecoveryKey(systemEntropy)

describe.each([softHsmKind, nssKind, openCryptokiKind, tpm2Kind])('the token of $name', kind => {
  describe.skipIf(maySkip(!kind.isPossible()))('', () => {
    let running: RunningModule
    let token: TokenProcess
    const files = temporary()
    const opened: TokenProcess[] = []
    let pinsAsked = 0

    function another(pin: string, refusals?: PinRefusals): TokenProcess {
      const source = {
        isAttended: false,
        fetch: async () => {
          pinsAsked += 1
          return secret(pin)
        },
        refused() {},
      }
      const made = new TokenProcess({ ...running.options, pin: source, ...(refusals && { refusals }) })
      opened.push(made)
      return made
    }

    async function keyOf(one: TokenProcess) {
      return tokenKey((await one.publicKeys(never)).wrapping, one, never)
    }

    async function expectOpening(one: TokenProcess) {
      const key = await keyOf(one)
      const envelope = await createEnvelope(secret(passphrase), [tokenRecipient(key), recovery.recipient])
      using found = await openWithToken(new Untrusted(envelope), key)
      expect(textOf(found)).toBe(passphrase)
    }

    beforeAll(async () => {
      running = await kind.start()
      token = another(running.pin)
      if (running.officerPin !== null)
        await token.initialise(secret(running.officerPin), secret(running.pin), never)
      await token.generateKeys(never)
    })
    afterAll(async () => {
      for (const one of opened) one[Symbol.dispose]()
      await running[Symbol.asyncDispose]()
      files.remove()
    })

    it('has keys that are made once', async () => {
      const made = await token.publicKeys(never)
      expect(await token.generateKeys(never)).toEqual(made)
      expect(made.wrapping?.type).toBe(kind.opens === 'ecdh' ? 'p256' : 'rsa')
      expect(made.witness !== null).toBe(kind.isWitness)
    })

    it('opens what is encrypted to it, many at once, having asked for its PIN once', async () => {
      pinsAsked = 0
      const one = another(running.pin)
      await Promise.all(Array.from({ length: 8 }, () => expectOpening(one)))
      expect(pinsAsked).toBe(1)
    })

    it('opens what stock age encrypts to its key, where age knows such keys', async () => {
      const key = await keyOf(token)
      const { text } = tokenRecipient(key)
      expect(parseRecipient(text).text).toBe(text)
      if (key.type !== 'rsa') return
      const [recipients, envelope] = ['recipients', 'envelope.age'].map(name =>
        path.join(files.directory, name),
      )
      writeFileSync(recipients ?? '', `${text} a token\n${recovery.recipient.text}\n`)
      execFileSync('age', ['-R', recipients ?? '', '-o', envelope ?? ''], { input: passphrase })
      using found = await openWithToken(new Untrusted(new Uint8Array(readFileSync(envelope ?? ''))), key)
      expect(textOf(found)).toBe(passphrase)
    })

    it('opens nothing that was made for another, or was changed, and goes on', async () => {
      const key = await keyOf(token)
      const other = tokenRecipient(
        key.type === 'rsa'
          ? { type: 'rsa', modulus: key.modulus.map((byte, at) => (at === 9 ? byte ^ 1 : byte)) }
          : parsePoint(),
      )
      const envelopeFor = (one: typeof other) => createEnvelope(secret(passphrase), [one, recovery.recipient])
      expect(await codeOf(async () => openWithToken(new Untrusted(await envelopeFor(other)), key))).toBe(
        'HSM_ENVELOPE_OTHER_KEY',
      )
      const changed = await envelopeFor(tokenRecipient(key))
      const body = Buffer.from(changed).indexOf('\n', Buffer.from(changed).indexOf('-> ') + 3) + 4
      changed[body] = changed[body] === 0x41 ? 0x42 : 0x41
      expect(await codeOf(() => openWithToken(new Untrusted(changed), key))).toBe('HSM_ENVELOPE_INVALID')
      await expectOpening(token)
    })

    it('signs as a witness, or says that it cannot', async () => {
      const message = Buffer.from('a checkpoint')
      const { witness } = await token.publicKeys(never)
      if (witness === null) expect(await codeOf(() => token.sign(message, never))).toBe('HSM_KEY_MISSING')
      else expect(verifyEd25519(witness, message, await token.sign(message, never))).toBe(true)
    })

    it('releases a passphrase to dom0, beside another token where it cannot witness', async () => {
      const world = await World.start({}, token)
      try {
        expect(await world.release()).toMatch(/^[A-Za-z0-9_-]{43}$/)
      } finally {
        await world.stop()
      }
    })

    it('seals with a key of its own, or says that it cannot', async () => {
      if (kind.seals === null) {
        expect(await codeOf(() => tokenSigner(token, true, never))).toBe('HSM_MECHANISM_MISSING')
        return
      }
      const signer = await tokenSigner(token, true, never)
      expect(signer.publicKey.type).toBe(kind.seals)
      const message = Buffer.from('an encoding')
      expect(verifySignature(signer.publicKey.handle, message, await signer.sign(message, never))).toBe(true)
    })

    it('counts, or says that it cannot', async () => {
      expect(await codeOf(() => token.counter('read', never))).toBe('HSM_COUNTER_MISSING')
      if (!kind.counts) {
        expect(await codeOf(() => token.counter('make', never))).toBe('HSM_MECHANISM_MISSING')
        return
      }
      expect(await token.counter('make', never)).toBe(0)
      expect(await token.counter('increment', never)).toBe(1)
      expect(await another(running.pin).counter('read', never)).toBe(1)
    })

    it('says what it can, and keeps its keys as far as that can be tried', async () => {
      const { opens, keys } = await token.describe(never)
      expect(opens).toBe(kind.opens)
      expect(keys.map(one => one.label)).toContain('strongroom-wrapping')
      for (const key of keys) expect(key).toMatchObject({ isProtected: true, export: kind.export })
      const findings = await doctor(token, { opens: true, witnesses: true }, never)
      const bad = findings.filter(({ ok }) => ok === false).map(({ text }) => text)
      expect(bad.some(text => text.includes('Ed25519'))).toBe(!kind.isWitness)
      const alone = await doctor(token, { opens: true, witnesses: false }, never)
      expect(alone.filter(({ ok }) => ok === false)).toHaveLength(
        kind.export === 'given' ? bad.length - 2 : 0,
      )
      expect(bad.some(text => text.includes('gave it out'))).toBe(kind.export === 'given')
    })

    it('is opened anew by the next call when its process is killed', async () => {
      await token.publicKeys(never)
      const call = Promise.all(Array.from({ length: 4 }, () => expectOpening(token)))
      expect(killTokenHosts()).toBeGreaterThan(0)
      expect(await codeOf(() => call)).toBe('HSM_MODULE_CRASHED')
      await expectOpening(token)
    })

    it('is missed while it is away, and works when it is back', async () => {
      if (running.removable === null) return
      await token.publicKeys(never)
      await running.removable.takeAway()
      try {
        for (let count = 0; count < 2; count++)
          expect(await codeOf(() => expectOpening(token))).toMatch(/^HSM_TOKEN_(REMOVED|MISSING|FAILED)$/)
      } finally {
        await running.removable.putBack()
      }
      await expectOpening(token)
    })

    it('is found by its label when its slot has another number', async () => {
      if (running.renumber === null) return
      await running.renumber()
      await expectOpening(another(running.pin))
    })

    it('is not sent a wrong PIN twice, by whichever process, until a person gives one', async () => {
      const refusals = refusalsIn(path.join(files.directory, 'refused-pins.json'), countingEntropy(3))
      const wrong = '999999'
      for (const say of ['the PIN is wrong', 'refused this PIN before', 'refused this PIN before'])
        await expect(another(wrong, refusals).publicKeys(never)).rejects.toThrow(say)
      await expectOpening(another(running.pin, refusals))
      await refusals.clear()
    })

    it('is left alone before it locks, and says so when it has', async () => {
      if (kind.locks === null) return
      let code = 'HSM_PIN_WRONG'
      for (let attempt = 0; code === 'HSM_PIN_WRONG' && attempt < 4; attempt++)
        code = await codeOf(() => another(`98765${attempt}`).publicKeys(never))
      expect(code).toBe(kind.locks)
      const late = another(running.pin)
      expect(await codeOf(() => late.publicKeys(never))).toBe(code)
      const findings = await doctor(late, { opens: true, witnesses: true }, never)
      expect(findings.filter(({ ok }) => ok === false).map(({ text }) => text)).toContainEqual(
        expect.stringContaining(code),
      )
    })
  })
})

/** The base point, whose private key is 1. */
function parsePoint() {
  const hex =
    '046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5'
  return requireWrappingKey({ type: 'p256', point: new Uint8Array(Buffer.from(hex, 'hex')) })
}
