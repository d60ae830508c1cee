import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { sha256Hex } from '../../src/crypto/digest.ts'
import { judgeTpm } from '../../src/sealing/enrolment.ts'
import { readEndorsementCertificate } from '../../src/tpm/device/endorsement-certificate.ts'
import { namesSoftware, parseCertificate, whyNotCertified } from '../../src/tpm/public/certificate.ts'
import type { PublicArea } from '../../src/tpm/public/public-area.ts'
import { codeOf } from '../support/code-of.ts'
import { type SoftwareTpm, signal, softwareTpm, withEndorsementKey } from './swtpm.ts'

/* swtpm_setup plays the maker: an authority of its own, and a certificate in the TPM's memory. */

let swtpm: SoftwareTpm
let certificate: X509Certificate
let endorsementKey: PublicArea
let root: X509Certificate
let intermediate: X509Certificate

function manufacture(state: string): void {
  const authority = path.join(path.dirname(state), 'authority')
  mkdirSync(authority)
  const file = (name: string) => path.join(authority, name)
  writeFileSync(
    file('setup'),
    `create_certs_tool = swtpm_localca
create_certs_tool_config = ${file('localca')}
create_certs_tool_options = ${file('options')}
active_pcr_banks = sha256
`,
  )
  writeFileSync(
    file('localca'),
    `statedir = ${authority}
signingkey = ${file('signkey.pem')}
issuercert = ${file('issuer.pem')}
certserial = ${file('serial')}
`,
  )
  writeFileSync(file('options'), '--platform-manufacturer Any --platform-version 1 --platform-model Any\n')
  const words = ['--tpm2', '--tpm-state', state, '--config', file('setup'), '--create-ek-cert', '--overwrite']
  execFileSync('swtpm_setup', words, { stdio: 'ignore', timeout: 30_000 })
}

beforeAll(async () => {
  swtpm = await softwareTpm({ prepare: manufacture })
  const der = await readEndorsementCertificate(swtpm.tpm, 'rsa', signal)
  certificate = parseCertificate(der ?? expect.unreachable())
  await withEndorsementKey(swtpm.tpm, 'rsa', async key => {
    endorsementKey = key.area
  })
  const read = (name: string) =>
    new X509Certificate(readFileSync(path.join(swtpm.directory, 'authority', name)))
  root = read('swtpm-localca-rootca-cert.pem')
  intermediate = read('issuer.pem')
})
afterAll(() => swtpm[Symbol.asyncDispose]())

const now = new Date('2100-01-01T00:00:00Z')
const check = (changed: object = {}, one = certificate) =>
  whyNotCertified(one, { endorsementKey, roots: [root], intermediates: [intermediate], now, ...changed })

test('the maker vouches for the key, as openssl says as well', async () => {
  expect(check()).toBeNull()
  expect(check({ roots: [intermediate], intermediates: [] })).toBeNull()
  await swtpm.write('certificate.pem', Buffer.from(certificate.toString()))
  const words = ['verify', '-ignore_critical', '-CAfile', 'authority/swtpm-localca-rootca-cert.pem']
  expect(
    await swtpm.tool('openssl', ...words, '-untrusted', 'authority/issuer.pem', 'certificate.pem'),
  ).toContain('OK')
})

test('and the certificate says that it is software', () => {
  expect(namesSoftware(certificate)).toBe(true)
  expect(namesSoftware(root)).toBe(false)
})

test('each fault has its words', async () => {
  await withEndorsementKey(swtpm.tpm, 'p256', async key => {
    expect(check({ endorsementKey: key.area })).toContain('another key')
  })
  expect(check({ roots: [], intermediates: [intermediate, root] })).toContain('too many')
  expect(check({ intermediates: [] })).toContain('no trusted authority')
  expect(check({ roots: [], intermediates: [intermediate] })).toContain('no trusted authority')
  expect(check({ roots: [certificate] })).toContain('for itself')
  expect(check({ now: new Date('2020-01-01T00:00:00Z') })).toContain('not valid')
  const changed = new Uint8Array(certificate.raw)
  changed[changed.byteLength - 1] = (changed.at(-1) ?? 0) ^ 1
  expect(check({}, parseCertificate(changed))).toContain('no trusted authority')
})

test('a verifier takes it for software, never for hardware; and none proves nothing', async () => {
  const offer = { endorsementKey, attestationKey: endorsementKey }
  const evidence = {
    certificate: certificate.raw,
    roots: [root],
    intermediates: [intermediate],
    saysSoftware: false,
  }
  const judge = (changed: object) => judgeTpm(offer, { ...evidence, ...changed }, now)
  const digest = sha256Hex(certificate.raw)
  expect(judge({})).toEqual({ tpm: 'software', certificate: digest })
  expect(judge({ certificate: null, saysSoftware: true })).toEqual({ tpm: 'software', certificate: null })
  expect(judge({ certificate: null })).toEqual({ tpm: 'unproven', certificate: null })
  expect(await codeOf(() => judge({ roots: [certificate] }))).toBe('SEAL_ENROLMENT_WRONG')
  expect(await codeOf(() => judge({ certificate: root.raw }))).toBe('SEAL_ENROLMENT_WRONG')
  expect(await codeOf(() => judge({ certificate: new Uint8Array(100) }))).toBe('TPM_MALFORMED')
})

test('one that does not name software is hardware', async () => {
  await swtpm.write('key.pem', Buffer.from(endorsementKey.key.export({ format: 'pem', type: 'spki' })))
  const authority = [
    '-CA',
    'authority/issuer.pem',
    '-CAkey',
    'authority/signkey.pem',
    '-CAcreateserial',
    '-days',
    '40000',
  ]
  await swtpm.tool(
    'openssl',
    'req',
    '-newkey',
    'rsa:2048',
    '-nodes',
    '-subj',
    '/CN=chip',
    '-keyout',
    'other.pem',
    '-out',
    'request.pem',
  )
  await swtpm.tool(
    'openssl',
    'x509',
    '-req',
    '-in',
    'request.pem',
    '-force_pubkey',
    'key.pem',
    ...authority,
    '-out',
    'chip.pem',
  )
  const chip = new X509Certificate(await swtpm.read('chip.pem'))
  const evidence = {
    certificate: chip.raw,
    roots: [root],
    intermediates: [intermediate],
    saysSoftware: false,
  }
  const offer = { endorsementKey, attestationKey: endorsementKey }
  expect(judgeTpm(offer, evidence, now).tpm).toBe('hardware')
  expect(judgeTpm(offer, { ...evidence, saysSoftware: true }, now).tpm).toBe('software')
  expect(judgeTpm(offer, { ...evidence, roots: [] }, now).tpm).toBe('unproven')
})

test('what is no certificate is refused; where there is none there is none', async () => {
  expect(await codeOf(() => parseCertificate(certificate.raw.subarray(0, 100)))).toBe('TPM_MALFORMED')
  expect(await codeOf(() => parseCertificate(new Uint8Array(10_000)))).toBe('TPM_MALFORMED')
  expect(await readEndorsementCertificate(swtpm.tpm, 'p256', signal)).toBeNull()
  await using bare = await softwareTpm()
  expect(await readEndorsementCertificate(bare.tpm, 'rsa', signal)).toBeNull()
})
