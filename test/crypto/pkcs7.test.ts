import { execFileSync, spawnSync } from 'node:child_process'
import { createPrivateKey, sign } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { utf8 } from '../../src/base/bytes.ts'

import { encodeDetachedSignature, parseCertificate, verifyDetachedSignature } from '../../src/crypto/pkcs7.ts'
import { codeOfNow } from '../support/code-of.ts'

/* Against OpenSSL's own command line. */

let directory: string
const at = (name: string) => path.join(directory, name)
const read = (name: string) => new Uint8Array(readFileSync(at(name)))
const openssl = (...given: string[]) => execFileSync('openssl', given, { cwd: directory, stdio: 'pipe' })

const kinds = {
  rsa: ['-newkey', 'rsa:2048'],
  p256: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256'],
  other: ['-newkey', 'rsa:2048'],
  'rsa-1024': ['-newkey', 'rsa:1024'],
  p384: ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-384'],
  ed25519: ['-newkey', 'ed25519'],
} as const
const content = utf8('0123456789abcdef'.repeat(4))
const signing = ['-nocerts', '-noattr', '-binary', '-in', 'content', '-outform', 'der'] as const

beforeAll(() => {
  directory = mkdtempSync(path.join(tmpdir(), 'strongroom-pkcs7-'))
  for (const [name, kind] of Object.entries(kinds)) {
    const files = ['-keyout', `${name}.key`, '-out', `${name}.crt`]
    openssl('req', '-x509', '-nodes', '-days', '9', '-subj', `/O=Org/CN=${name}`, ...kind, ...files)
  }
  writeFileSync(at('content'), content)
})
afterAll(() => rmSync(directory, { recursive: true }))

function signed(name: string): Uint8Array {
  const key = createPrivateKey(readFileSync(at(`${name}.key`)))
  return encodeDetachedSignature(parseCertificate(read(`${name}.crt`)), sign('sha256', content, key))
}

function stockSigned(tool: 'smime' | 'cms', name: string): Uint8Array {
  openssl(tool, '-sign', ...signing, '-inkey', `${name}.key`, '-signer', `${name}.crt`, '-out', 'signature')
  return read('signature')
}

function stockVerify(tool: 'smime' | 'cms', signature: Uint8Array, name: string, text = content): boolean {
  writeFileSync(at('signature'), signature)
  writeFileSync(at('said'), text)
  const files = ['-in', 'signature', '-content', 'said', '-certfile', `${name}.crt`]
  const options = ['-verify', '-binary', '-inform', 'der', '-nointern', '-noverify', '-out', 'out']
  return spawnSync('openssl', [tool, ...options, ...files], { cwd: directory }).status === 0
}

const verify = (signature: Uint8Array, name: string, text = content) =>
  codeOfNow(() => verifyDetachedSignature(signature, text, parseCertificate(read(`${name}.crt`))))
const changed = utf8('1123456789abcdef'.repeat(4))

test('an RSA signature is the same to the byte as that of openssl smime', () => {
  expect(Buffer.compare(signed('rsa'), stockSigned('smime', 'rsa'))).toBe(0)
})

describe.each(['rsa', 'p256'])('with a key of kind %s', name => {
  test.each(['smime', 'cms'] as const)('openssl %s accepts ours', tool => {
    expect(stockVerify(tool, signed(name), name)).toBe(true)
    expect(stockVerify(tool, signed(name), name, changed)).toBe(false)
    expect(stockVerify(tool, signed(name), 'other')).toBe(false)
  })

  test.each(['smime', 'cms'] as const)('we accept that of openssl %s', tool => {
    expect(verify(stockSigned(tool, name), name)).toBe('ok')
  })

  test('we accept ours, of this content only', () => {
    expect(verify(signed(name), name)).toBe('ok')
    expect(verify(signed(name), name, changed)).toBe('PKCS7_SIGNATURE_WRONG')
  })

  test('no byte of it can be changed, left out or added', () => {
    const signature = signed(name)
    const certificate = parseCertificate(read(`${name}.crt`))
    const code = (bytes: Uint8Array) => codeOfNow(() => verifyDetachedSignature(bytes, content, certificate))
    fc.assert(
      fc.property(fc.nat(signature.byteLength - 1), fc.integer({ min: 1, max: 255 }), (place, change) => {
        const other = signature.slice()
        other[place] = (other[place] ?? 0) ^ change
        expect(code(other)).not.toBe('ok')
        expect(code(signature.subarray(0, place))).not.toBe('ok')
      }),
    )
    expect(code(new Uint8Array([...signature, 0]))).toBe('DER_MALFORMED')
  })
})

describe('another form', () => {
  const formOf = (...options: string[]) => {
    const files = ['-inkey', 'rsa.key', '-signer', 'rsa.crt', '-in', 'content', '-out', 'signature']
    openssl('cms', '-sign', '-binary', '-outform', 'der', ...options, ...files)
    return verify(read('signature'), 'rsa')
  }
  test('as above is accepted', () => expect(formOf('-noattr', '-nocerts')).toBe('ok'))
  test.each([
    ['with attributes', ['-nocerts']],
    ['with certificates', ['-noattr']],
    ['with its content inside', ['-noattr', '-nocerts', '-nodetach']],
    ['with SHA-512', ['-noattr', '-nocerts', '-md', 'sha512']],
    ['with a key id in place of the issuer', ['-noattr', '-nocerts', '-keyid']],
    ['with two signers', ['-noattr', '-nocerts', '-signer', 'other.crt', '-inkey', 'other.key']],
  ])('%s is not', (_, options) => {
    expect(formOf(...options)).toMatch(/^(PKCS7|DER)_MALFORMED$/)
  })
  test('of another length encoding is not', () => {
    const [, , , , ...rest] = signed('rsa')
    const length = rest.length
    expect(verify(new Uint8Array([0x30, 0x83, 0, length >> 8, length & 255, ...rest]), 'rsa')).toBe(
      'DER_MALFORMED',
    )
    expect(verify(new Uint8Array([0x30, 0x80, ...rest, 0, 0]), 'rsa')).toBe('DER_MALFORMED')
  })
})

test('the certificate decides whose signatures count', () => {
  expect(verify(signed('other'), 'rsa')).toBe('PKCS7_SIGNER_OTHER')
  expect(verify(signed('p256'), 'rsa')).toBe('PKCS7_MALFORMED')
})

test('the same name and serial number with another key', () => {
  const key = createPrivateKey(readFileSync(at('other.key')))
  const signature = sign('sha256', content, key)
  const forged = encodeDetachedSignature(parseCertificate(read('rsa.crt')), signature)
  expect(verify(forged, 'rsa')).toBe('PKCS7_SIGNATURE_WRONG')
})

describe('a certificate', () => {
  test('in PEM or DER', () => {
    openssl('x509', '-in', 'rsa.crt', '-outform', 'der', '-out', 'rsa.der')
    const [pem, binary] = [parseCertificate(read('rsa.crt')), parseCertificate(read('rsa.der'))]
    expect(binary.fingerprint).toBe(pem.fingerprint)
    const stock = openssl('x509', '-in', 'rsa.crt', '-noout', '-fingerprint', '-sha256').toString()
    expect(stock.trim().split('=')[1]?.replaceAll(':', '').toLowerCase()).toBe(pem.fingerprint)
  })
  test.each(['rsa-1024', 'p384', 'ed25519'])('of kind %s is refused', name => {
    expect(codeOfNow(() => parseCertificate(read(`${name}.crt`)))).toBe('CERTIFICATE_INVALID')
  })
  test('that is none is refused', () => {
    for (const bytes of [read('rsa.key'), new Uint8Array(0), read('content')])
      expect(codeOfNow(() => parseCertificate(bytes))).toBe('CERTIFICATE_INVALID')
  })
  test('knows its key', () => {
    const certificate = parseCertificate(read('rsa.crt'))
    expect(certificate.belongsTo(createPrivateKey(readFileSync(at('rsa.key'))))).toBe(true)
    expect(certificate.belongsTo(createPrivateKey(readFileSync(at('other.key'))))).toBe(false)
  })
})
