import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { HsmError } from '../../src/hsm/errors.ts'
import { refusalsIn } from '../../src/hsm/pin-refusals.ts'
import { expectWorking, peer } from './agreement.ts'
import {
  buildFaultyModule,
  codeOf,
  countingEntropy,
  label,
  never,
  officerPin,
  secret,
  softHsm,
  TestHsm,
} from './support.ts'

/* What can go wrong with a token while it is in use: each with its code, and what is well again by itself. */

let hsm: TestHsm
let modulePath: string
let builds: TestHsm
beforeAll(() => {
  builds = new TestHsm()
  modulePath = buildFaultyModule(builds.directory)
})
afterAll(() => builds.remove())
beforeEach(() => {
  hsm = new TestHsm()
})
afterEach(() => hsm.remove())

async function faulty() {
  const faultFile = path.join(hsm.directory, 'fault')
  const options = { modulePath, environment: { FAULT: faultFile }, callMilliseconds: 3000 }
  const token = await hsm.prepared(options)
  return { token, options, fault: (name: string) => writeFileSync(faultFile, name) }
}

describe('a module that misbehaves', () => {
  it.each([
    ['hang', 'HSM_TIMEOUT'],
    ['crash', 'HSM_MODULE_CRASHED'],
    ['removed', 'HSM_TOKEN_REMOVED'],
    ['error', 'HSM_TOKEN_FAILED'],
  ])('by a %s is answered with %s, and the next call works', async (name, code) => {
    const { token, fault } = await faulty()
    await expectWorking(token)
    fault(name)
    expect(await codeOf(() => token.agree(peer().point, never))).toBe(code)
    fault('')
    await expectWorking(token)
  })

  it('in one call holds up no other, and takes none with it', async () => {
    const { token, fault } = await faulty()
    await expectWorking(token)
    fault('hang')
    const hanging = codeOf(() => token.agree(peer().point, never))
    const signature = await token.sign(Buffer.from('meanwhile'), never)
    expect(signature.byteLength).toBe(64)
    expect(await hanging).toBe('HSM_TIMEOUT')
    fault('')
    await expectWorking(token)
  })

  it('is ended when the caller gives up', async () => {
    const { token, fault } = await faulty()
    await expectWorking(token)
    fault('hang')
    const gone = new AbortController()
    const call = token.agree(peer().point, gone.signal)
    setTimeout(() => gone.abort(new Error('the caller has gone')), 200)
    await expect(call).rejects.toThrow('the caller has gone')
    fault('')
    await expectWorking(token)
  })

  it.each(['one-session', 'three-sessions'])('with %s serves as many callers', async name => {
    const { token, fault } = await faulty()
    fault(name)
    await Promise.all(Array.from({ length: 6 }, () => expectWorking(token)))
    expect(hsm.pinsAsked).toBe(1)
  })

  it('under another number of its slot goes on, and is found again', async () => {
    const { token, fault } = await faulty()
    await expectWorking(token)
    fault('renumbered')
    await expectWorking(token)
    expect(await codeOf(() => token.describe(never))).toBe('HSM_TOKEN_REMOVED')
    expect((await token.describe(never)).opens).toBe('ecdh')
  })
})

describe('a PIN', () => {
  it.each([
    ['locked', 'HSM_PIN_LOCKED'],
    ['last-try', 'HSM_PIN_LAST_TRY'],
  ])('is not sent to a token that says it is %s', async (name, code) => {
    const { token, fault } = await faulty()
    fault(name)
    expect(await codeOf(() => token.publicKeys(never))).toBe(code)
    fault('')
    await expectWorking(token)
  })

  it('that was sent when the module crashed is sent once more only if the token counts no wrong one', async () => {
    const { options, fault } = await faulty()
    const refusals = refusalsIn(path.join(hsm.directory, 'store/refused-pins.json'), countingEntropy(3))
    const service = () => hsm.token({ ...options, refusals })
    fault('login-crash')
    expect(await codeOf(() => service().publicKeys(never))).toBe('HSM_MODULE_CRASHED')
    fault('count-low')
    await expect(service().publicKeys(never)).rejects.toThrow('counts a wrong PIN since')
    fault('')
    await expect(service().publicKeys(never)).rejects.toThrow('refused this PIN before')
    // A person gives it anew.
    const source = { isAttended: true, fetch: async () => secret(hsm.pin), refused() {} }
    await expectWorking(hsm.token({ ...options, refusals, pin: source }))
    fault('login-crash')
    expect(await codeOf(() => service().publicKeys(never))).toBe('HSM_MODULE_CRASHED')
    fault('')
    await expectWorking(service())
  })

  it('is not sent when that cannot be noted, or what was noted cannot be read', async () => {
    const { options } = await faulty()
    const file = path.join(hsm.directory, 'refused-pins.json')
    writeFileSync(file, '{"pins":[{"salt":""}]}')
    const damaged = hsm.token({ ...options, refusals: refusalsIn(file, countingEntropy(3)) })
    expect(await codeOf(() => damaged.publicKeys(never))).toBe('HSM_STORE_DAMAGED')
    rmSync(file)
    hsm.pin = '999999'
    const note = () => Promise.reject(new HsmError('HSM_STORE_WRITE', 'the disk is full'))
    const full = hsm.token({ ...options, refusals: { ...refusalsIn(file, countingEntropy(3)), note } })
    expect(await codeOf(() => full.publicKeys(never))).toBe('HSM_STORE_WRITE')
    expect((await full.inspect(never)).pin).toBe('sound')
    const noted = hsm.token({ ...options, refusals: refusalsIn(file, countingEntropy(3)) })
    expect(await codeOf(() => noted.publicKeys(never))).toBe('HSM_PIN_WRONG')
    expect((await noted.inspect(never)).pin).toBe('failed-before')
    expect(readFileSync(file, 'utf8')).toMatch(
      /^{"pins":\[{"salt":"[0-9a-f]{32}","check":"[0-9a-f]{2}","outcome":"refused"}]}\n$/,
    )
  })

  it('is one of eight others at most that are tried without a person', async () => {
    await hsm.prepared()
    const token = hsm.token()
    for (let count = 0; count < 8; count++) {
      hsm.pin = `77777${count}`
      expect(await codeOf(() => token.publicKeys(never))).toBe('HSM_PIN_WRONG')
    }
    hsm.pin = '123456'
    await expect(token.publicKeys(never)).rejects.toThrow('no more are tried without a person')
  })
})

describe('a token', () => {
  it('that is full makes nothing, and goes on', async () => {
    const { token, fault } = await faulty()
    fault('full')
    expect(await codeOf(() => token.sealKey(true, never))).toBe('HSM_TOKEN_FULL')
    await expectWorking(token)
    fault('')
    expect((await token.sealKey(true, never))?.type).toBe('ed25519')
  })

  it('that is write-protected makes nothing, and goes on', async () => {
    const { token, fault } = await faulty()
    fault('write-protected')
    expect(await codeOf(() => token.sealKey(true, never))).toBe('HSM_TOKEN_READ_ONLY')
    expect((await token.inspect(never)).isWriteProtected).toBe(true)
    await expectWorking(token)
  })

  it('is not chosen between two of one label, and is used when the other is gone', async () => {
    const token = await hsm.prepared()
    const words = ['--init-token', '--free', '--label', label, '--so-pin', officerPin, '--pin', hsm.pin]
    execFileSync('softhsm2-util', ['--module', softHsm, ...words], {
      env: { ...process.env, SOFTHSM2_CONF: hsm.configuration },
      stdio: 'ignore',
    })
    expect(await codeOf(() => token.publicKeys(never))).toBe('HSM_TOKEN_AMBIGUOUS')
    const [own, other] = readdirSync(hsm.tokens).sort(
      (one, next) =>
        statSync(path.join(hsm.tokens, one)).birthtimeMs - statSync(path.join(hsm.tokens, next)).birthtimeMs,
    )
    expect(own).toBeDefined()
    rmSync(path.join(hsm.tokens, other ?? ''), { recursive: true })
    await expectWorking(token)
  })

  it('with two keys of one label uses neither', async () => {
    const token = await hsm.prepared()
    hsm.pkcs11Tool('--keypairgen', '--key-type', 'EC:prime256v1', '--label', 'strongroom-wrapping')
    expect(await codeOf(() => token.agree(peer().point, never))).toBe('HSM_TOKEN_AMBIGUOUS')
    expect((await token.sign(Buffer.from('x'), never)).byteLength).toBe(64)
  })

  it('without keys misses a key, and goes on', async () => {
    const token = hsm.token()
    await token.initialise(secret(officerPin), secret(hsm.pin), never)
    expect(await codeOf(() => token.agree(peer().point, never))).toBe('HSM_KEY_MISSING')
    expect(await token.publicKeys(never)).toEqual({ wrapping: null, witness: null })
  })

  it('whose module is missing is not there until it is', async () => {
    const later = path.join(hsm.directory, 'module.so')
    const token = await hsm.prepared({ modulePath: later })
    expect(await codeOf(() => token.publicKeys(never))).toBe('HSM_MODULE_MISSING')
    execFileSync('cp', [softHsm, later])
    await expectWorking(token)
  })
})
