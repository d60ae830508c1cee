import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'
import { Secret } from '../../src/base/secret.ts'
import { counterIndexDefault, tpmCounter } from '../../src/tpm/device/counter.ts'
import { verifyCounter } from '../../src/tpm/public/counter.ts'
import { codeOf } from '../support/code-of.ts'
import { allBits, failedItems, flipped } from './expect.ts'
import { type SoftwareTpm, signal, softwareTpm, withAttestationKey } from './swtpm.ts'

const nonce = new Uint8Array(32).fill(1)
const index = counterIndexDefault
const named = `0x${index.toString(16)}`

let swtpm: SoftwareTpm
beforeEach(async () => {
  swtpm = await softwareTpm()
})
afterEach(() => swtpm[Symbol.asyncDispose]())

describe('a counter', () => {
  test('counts up, and goes on after the machine was off', async () => {
    const counter = tpmCounter(swtpm.tpm)
    expect(await counter.define(signal)).toBe(1)
    expect(await counter.increment(signal)).toBe(2)
    await swtpm.kill()
    await swtpm.start()
    expect(await counter.read(signal)).toBe(2)
    expect(await counter.increment(signal)).toBe(3)
  })

  test('is the number that tpm2_nvread gives', async () => {
    const counter = tpmCounter(swtpm.tpm)
    await counter.define(signal)
    await swtpm.tool('tpm2_nvincrement', named, '-C', 'o')
    expect(await counter.read(signal)).toBe(2)
    await swtpm.tool('tpm2_nvread', named, '-C', 'o', '-o', 'value')
    expect((await swtpm.tool('od', '-An', '-tx1', 'value')).replace(/\s/g, '')).toBe('0000000000000002')
  })

  test('removed and made again it goes on above', async () => {
    const counter = tpmCounter(swtpm.tpm)
    await counter.define(signal)
    await counter.increment(signal)
    await counter.remove(signal)
    expect(await codeOf(() => counter.read(signal))).toBe('TPM_NOT_FOUND')
    expect(await counter.define(signal)).toBe(3)
  })

  test('is made once', async () => {
    const counter = tpmCounter(swtpm.tpm)
    expect(await codeOf(() => counter.read(signal))).toBe('TPM_NOT_FOUND')
    expect(await codeOf(() => counter.increment(signal))).toBe('TPM_NOT_FOUND')
    await counter.define(signal)
    expect(await codeOf(() => counter.define(signal))).toBe('TPM_EXISTS')
  })

  test('needs the password of the owner to count, and none to be read', async () => {
    await swtpm.tool('tpm2_changeauth', '-c', 'owner', 'right')
    using right = Secret.take(utf8('right'))
    using wrong = Secret.take(utf8('wrong'))
    const counter = tpmCounter(swtpm.tpm, { ownerPassword: right })
    await counter.define(signal)
    for (const ownerPassword of [null, wrong]) {
      const other = tpmCounter(swtpm.tpm, { ownerPassword })
      expect(await codeOf(() => other.increment(signal))).toBe('TPM_AUTH_WRONG')
      expect(await other.read(signal)).toBe(1)
    }
    expect(await counter.increment(signal)).toBe(2)
  })

  test.each([
    ['memory that can be set back', 'ownerread|ownerwrite|authread|no_da', 'TPM_COUNTER_INVALID'],
    [
      'a counter that everyone counts',
      'nt=counter|ownerread|ownerwrite|authread|authwrite|no_da',
      'TPM_COUNTER_INVALID',
    ],
    ['a counter that was never counted', 'nt=counter|ownerread|ownerwrite|authread|no_da', 'TPM_NOT_FOUND'],
  ])('%s is not taken for it', async (_, attributes, code) => {
    await swtpm.tool('tpm2_nvdefine', named, '-C', 'o', '-s', '8', '-a', attributes)
    if (!attributes.startsWith('nt')) {
      await swtpm.tool('sh', '-c', String.raw`printf '\0\0\0\0\0\0\0\7' > value`)
      await swtpm.tool('tpm2_nvwrite', named, '-C', 'o', '-i', 'value')
    }
    const counter = tpmCounter(swtpm.tpm)
    expect(await codeOf(() => counter.read(signal))).toBe(code)
    expect(await codeOf(() => counter.increment(signal))).toBe(code)
  })
})

describe('a certified counter', () => {
  test('is accepted; each fault has its item', async () => {
    const counter = tpmCounter(swtpm.tpm)
    await counter.define(signal)
    const value = await counter.increment(signal)
    await withAttestationKey(swtpm.tpm, async key => {
      const expected = { attestationKey: key.area, nonce, index }
      const certified = await counter.certify(key, nonce, signal)
      const verdict = verifyCounter(certified, expected)
      expect([verdict.isAccepted, verdict.value]).toEqual([true, value])

      const failing = (changed: object, statement = certified) => {
        const { isAccepted, checks, value: told } = verifyCounter(statement, { ...expected, ...changed })
        expect([isAccepted, told]).toEqual([false, null])
        return failedItems(checks)
      }
      expect(failing({ nonce: nonce.map(byte => byte + 1) })).toEqual(['nonce'])
      expect(failing({ index: index + 1 })).toEqual(['index'])
      for (const bit of allBits(certified.attest))
        expect(failing({}, { ...certified, attest: flipped(certified.attest, bit) })).toEqual(['signature'])
    })
  })

  test('memory that can be set back is not certified as a counter', async () => {
    await swtpm.tool(
      'tpm2_nvdefine',
      named,
      '-C',
      'o',
      '-s',
      '8',
      '-a',
      'ownerread|ownerwrite|authread|no_da',
    )
    await swtpm.tool('sh', '-c', String.raw`printf '\0\0\0\0\0\0\0\7' > value`)
    await swtpm.tool('tpm2_nvwrite', named, '-C', 'o', '-i', 'value')
    await withAttestationKey(swtpm.tpm, async key => {
      const certified = await tpmCounter(swtpm.tpm).certify(key, nonce, signal)
      const { checks, value } = verifyCounter(certified, { attestationKey: key.area, nonce, index })
      expect([failedItems(checks), value]).toEqual([['index'], null])
    })
  })
})
