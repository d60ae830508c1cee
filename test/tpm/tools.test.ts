import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { toHex } from '../../src/base/bytes.ts'
import { extendPcr, readPcrs } from '../../src/tpm/device/pcrs.ts'
import { quotePcrs } from '../../src/tpm/device/quote.ts'
import { parsePublicArea } from '../../src/tpm/public/public-area.ts'
import { verifyQuote } from '../../src/tpm/public/quote.ts'
import { failedItems } from './expect.ts'
import { attestationKeyByTool, type SoftwareTpm, signal, softwareTpm, withAttestationKey } from './swtpm.ts'

/* The tools of the TPM Software Stack: another implementation, which must agree. */

const nonce = new Uint8Array(32).fill(9)
const digest = new Uint8Array(32).fill(0x5a)

let swtpm: SoftwareTpm
beforeEach(async () => {
  swtpm = await softwareTpm()
})
afterEach(() => swtpm[Symbol.asyncDispose]())

describe('our quote', () => {
  test('is accepted by tpm2_checkquote; with another nonce or a changed byte it is not', async () => {
    await extendPcr(swtpm.tpm, 14, digest, signal)
    await withAttestationKey(swtpm.tpm, async key => {
      const { attest, signature } = await quotePcrs(swtpm.tpm, key, nonce, [7, 14], signal)
      await swtpm.write('key.pem', Buffer.from(key.area.key.export({ format: 'pem', type: 'spki' })))
      await swtpm.write('attest', attest)
      await swtpm.write('signature', signature)
      const check = (message: string, qualification: Uint8Array) =>
        swtpm.tool(
          'tpm2_checkquote',
          '-u',
          'key.pem',
          '-m',
          message,
          '-s',
          'signature',
          '-g',
          'sha256',
          '-q',
          toHex(qualification),
        )
      await check('attest', nonce)
      await expect(check('attest', digest)).rejects.toThrow()
      const last = attest.byteLength - 1
      await swtpm.write(
        'changed',
        attest.map((byte, at) => (at === last ? byte ^ 1 : byte)),
      )
      await expect(check('changed', nonce)).rejects.toThrow()
    })
  })
})

describe('their quote', () => {
  test('is accepted, under its endorsement key', async () => {
    await swtpm.tool('tpm2_pcrextend', `14:sha256=${toHex(digest)}`)
    const pcrs = await readPcrs(swtpm.tpm, [14], signal)
    await swtpm.tool('tpm2_createek', '-c', 'ek.ctx', '-G', 'ecc', '-u', 'ek.pub', '-f', 'tss')
    await swtpm.tool('tpm2_flushcontext', '-t')
    await attestationKeyByTool(swtpm)
    await swtpm.tool(
      'tpm2_quote',
      '-c',
      'ak.ctx',
      '-l',
      'sha256:14',
      '-q',
      toHex(nonce),
      '-m',
      'attest',
      '-s',
      'signature',
      '-g',
      'sha256',
    )
    const endorsementKey = parsePublicArea((await swtpm.read('ek.pub')).subarray(2))
    const attestationKey = parsePublicArea((await swtpm.read('ak.pub')).subarray(2))
    expect(Buffer.from(attestationKey.name)).toEqual(await swtpm.read('ak.name'))
    const quote = { attest: await swtpm.read('attest'), signature: await swtpm.read('signature') }
    const expected = { attestationKey, nonce, pcrs }
    expect(failedItems(verifyQuote(quote, { ...expected, parents: [endorsementKey.name] }).checks)).toEqual(
      [],
    )
    expect(failedItems(verifyQuote(quote, expected).checks)).toEqual(['signer'])
  })
})
