import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs'
import path from 'node:path'
import { PassThrough } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { verifyEd25519, verifySignature } from '../../src/crypto/signature.ts'
import { pinFromTerminal } from '../../src/hsm/pin.ts'
import { tokenSigner } from '../../src/hsm/seal-signer.ts'
import { hasLowerS } from '../../src/sealing/ecdsa.ts'
import { expectWorking, peer } from './agreement.ts'
import { codeOf, never, officerPin, secret, TestHsm } from './support.ts'

let hsm: TestHsm
beforeEach(() => {
  hsm = new TestHsm()
})
afterEach(() => hsm.remove())

describe('a token', () => {
  it('agrees on the secret that OpenSSL computes, and signs what OpenSSL verifies', async () => {
    const token = await hsm.prepared()
    await expectWorking(token)
    const { witness } = await token.publicKeys(never)
    const message = Buffer.from('a checkpoint')
    const signature = await token.sign(message, never)
    expect(verifyEd25519(witness ?? new Uint8Array(0), message, signature)).toBe(true)
  })

  it('has no key to seal with unless it is asked to make one, and then that one', async () => {
    const token = await hsm.prepared()
    await expect(tokenSigner(token, false, never)).rejects.toMatchObject({ code: 'HSM_KEY_MISSING' })
    const made = await tokenSigner(token, true, never)
    expect(made.publicKey.type).toBe('ed25519')
    expect((await tokenSigner(token, true, never)).keyId).toBe(made.keyId)
    expect((await tokenSigner(token, false, never)).keyId).toBe(made.keyId)
    const message = Buffer.from('an encoding')
    const signature = await made.sign(message, never)
    expect(verifySignature(made.publicKey.handle, message, signature)).toBe(true)
    expect((await token.describe(never)).keys.at(-1)).toEqual({
      label: 'strongroom-seal',
      isProtected: true,
      export: 'refused',
    })
  })

  it('seals with a P-256 key that another tool made in it, in the one accepted form', async () => {
    const token = await hsm.prepared()
    hsm.pkcs11Tool('--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'strongroom-seal')
    const signer = await tokenSigner(token, false, never)
    expect(signer.publicKey.type).toBe('ecdsa-p256')
    const message = Buffer.from('an encoding')
    for (let count = 0; count < 8; count++) {
      const signature = await signer.sign(message, never)
      expect(hasLowerS(signature)).toBe(true)
      expect(verifySignature(signer.publicKey.handle, message, signature)).toBe(true)
    }
  })

  it('keeps a counter that only its PIN shows, over its own restart', async () => {
    const token = await hsm.prepared()
    expect(await codeOf(() => token.counter('read', never))).toBe('HSM_COUNTER_MISSING')
    expect(await token.counter('make', never)).toBe(0)
    expect(await token.counter('increment', never)).toBe(1)
    expect(await token.counter('make', never)).toBe(1)
    token[Symbol.dispose]()
    const again = hsm.token()
    expect(await again.counter('increment', never)).toBe(2)
    expect(await again.counter('read', never)).toBe(2)
  })

  it('says what it is and can do; its keys do not leave it', async () => {
    const token = await hsm.prepared()
    expect(await token.inspect(never)).toMatchObject({
      label: 'strongroom-test',
      manufacturer: 'SoftHSM project',
      pin: 'sound',
      ecdh: true,
      ed25519: true,
    })
    const kept = { isProtected: true, export: 'refused' }
    expect(await token.describe(never)).toEqual({
      opens: 'ecdh',
      keys: [
        { label: 'strongroom-wrapping', ...kept },
        { label: 'strongroom-witness', ...kept },
      ],
    })
  })

  it('is initialised once, and its keys are made once', async () => {
    const token = await hsm.prepared()
    const before = await token.publicKeys(never)
    expect(await token.generateKeys(never)).toEqual(before)
    const code = codeOf(() => hsm.token().initialise(secret(officerPin), secret(hsm.pin), never))
    expect(await code).toBe('HSM_TOKEN_EXISTS')
  })

  it('serves many callers at once, one after another', async () => {
    const token = await hsm.prepared()
    await Promise.all(Array.from({ length: 8 }, () => expectWorking(token)))
    expect(hsm.pinsAsked).toBe(1)
  })
})

describe('a token that is not there', () => {
  it('has its own code for each reason', async () => {
    const missing = hsm.token()
    expect(await codeOf(() => missing.publicKeys(never))).toBe('HSM_TOKEN_MISSING')
    const noModule = hsm.token({ modulePath: path.join(hsm.directory, 'no-such-module.so') })
    expect(await codeOf(() => noModule.publicKeys(never))).toBe('HSM_MODULE_MISSING')
  })

  it('is noticed when it is pulled out, and works when it is put back', async () => {
    const token = await hsm.prepared()
    await expectWorking(token)
    const elsewhere = path.join(hsm.directory, 'pulled')
    renameSync(hsm.tokens, elsewhere)
    mkdirSync(hsm.tokens)
    expect(await codeOf(() => token.agree(peer().point, never))).toBe('HSM_TOKEN_REMOVED')
    expect(await codeOf(() => token.agree(peer().point, never))).toBe('HSM_TOKEN_MISSING')
    rmSync(hsm.tokens, { recursive: true })
    renameSync(elsewhere, hsm.tokens)
    await expectWorking(token)
  })
})

describe('a wrong PIN', () => {
  it('is tried once, however often it is asked for, until it is replaced', async () => {
    const token = await hsm.prepared()
    const right = hsm.pin
    hsm.pin = '999999'
    for (let attempt = 0; attempt < 3; attempt++)
      expect(await codeOf(() => token.publicKeys(never))).toBe('HSM_PIN_WRONG')
    await expect(token.publicKeys(never)).rejects.toThrow('refused this PIN before')
    hsm.pin = right
    await expectWorking(token)
  })

  it('typed by a person is asked for again; one that is not typed at all blocks no later call', async () => {
    const input = Object.assign(new PassThrough(), { isTTY: true, setRawMode: () => {} })
    const token = await hsm.prepared({ pin: pinFromTerminal('PIN: ', { input, output: new PassThrough() }) })
    input.write('999999\r')
    expect(await codeOf(() => token.publicKeys(never))).toBe('HSM_PIN_WRONG')
    const gone = new AbortController()
    const unanswered = token.publicKeys(gone.signal)
    const behind = token.publicKeys(never)
    setTimeout(() => gone.abort(new Error('the caller has gone')), 20)
    await expect(unanswered).rejects.toThrow('the caller has gone')
    input.write(`${hsm.pin}\r`)
    expect((await behind).witness).not.toBeNull()
  })
})

describe('what is left on disk', () => {
  it('does not hold the PIN', async () => {
    await hsm.prepared()
    const files = readdirSync(hsm.directory, { recursive: true, withFileTypes: true }).filter(one =>
      one.isFile(),
    )
    expect(files.some(({ name }) => name === 'token.object')).toBe(true)
    for (const { parentPath, name } of files)
      expect(readFileSync(path.join(parentPath, name)).includes(hsm.pin), name).toBe(false)
  })
})
