import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { toBase64, utf8 } from '../../src/base/bytes.ts'
import { ledgerKey as ledgerKeyOf, ledgerOrigin } from '../../src/ledger/identities.ts'
import { formatVerifierKey, verifierKey } from '../../src/ledger/note.ts'
import { dom0Key, entries, ledgerKey, newSigner, origin, pages } from '../api/ledger-pages.ts'
import { type Stand, startStand } from './harness.ts'

const key = formatVerifierKey(ledgerKey)
let stand: Stand
let keyFile = ''
beforeAll(async () => {
  stand = await startStand({ ledger: { origin, verifierKeys: [key] } })
  keyFile = path.join(stand.directory, 'ledger.vkey')
  await writeFile(keyFile, `${key}\n`)
})
afterAll(() => stand[Symbol.asyncDispose]())

test('entries are shown with their index, and never as control characters', async () => {
  stand.api.dom0.ledgerPage = await pages([...entries(3), utf8('\u001b[2J')])
  const { code, stdout } = await stand.run(['ledger', 'show', '--from', '2'])
  expect([code, stdout]).toEqual([0, '2  entry 2\n3  ?[2J\n4 entries in all\n'])
})

test('a ledger of several pages verifies against the given key', async () => {
  stand.api.dom0.ledgerPage = await pages(entries(27), { countMax: 10 })
  const { code, stdout, stderr } = await stand.run(['ledger', 'verify', '--key', keyFile])
  expect([code, stdout]).toEqual([0, '27 entries of ledger.example verified\n'])
  expect(stderr).toBe('20 of 27 entries\n27 of 27 entries\n')
  const json = await stand.run(['ledger', 'verify', '--key', keyFile, '--json'])
  expect(JSON.parse(json.stdout)).toEqual({ v: 1, type: 'ledger-verified', origin, size: 27, key })
})

test('without --key the management VM’s is used, and that is said', async () => {
  stand.api.dom0.ledgerPage = await pages(entries(3))
  const { code, stderr } = await stand.run(['ledger', 'verify'])
  expect([code, stderr]).toEqual([
    0,
    'the key is the one that the management VM gives; --key makes it independent\n',
  ])
})

test('a changed, missing or foreign ledger is an integrity alarm', async () => {
  const honest = await pages(entries(27), { countMax: 10 })
  const { dom0 } = stand.api
  const verify = () => stand.run(['ledger', 'verify', '--key', keyFile])
  dom0.ledgerPage = from => ({ ...honest(from), entries: honest(from).entries.map(() => utf8('other')) })
  expect(await verify()).toMatchObject({
    code: 4,
    stdout: '',
    stderr: expect.stringContaining('[LEDGER_DAMAGED]'),
  })
  dom0.ledgerPage = from => ({ ...honest(from), entries: from === 0 ? honest(0).entries : [] })
  expect(await verify()).toMatchObject({ code: 4, stderr: expect.stringContaining('[LEDGER_DAMAGED]') })
  dom0.ledgerPage = await pages(entries(27), { signer: newSigner() })
  expect(await verify()).toMatchObject({ code: 4, stderr: expect.stringContaining('[LEDGER_SIGNATURE]') })
})

const dom0 = toBase64(dom0Key.publicKey)
const roles = (keys: object) =>
  JSON.stringify({ hsm: ['vault-hsm'], management: ['mgmt'], storage: ['backup-store'], keys })
const hsm = toBase64(newSigner().publicKey)

/** Each with the file's content, if it is one. */
test.each<[string, string | null]>([
  ['roles.json', roles({ dom0, hsm })],
  ['dom0.key', `${dom0}\n`],
  [dom0, null],
  ['ledger.vkey', `${formatVerifierKey(ledgerKeyOf({ dom0: dom0Key.publicKey }))}\n`],
  [formatVerifierKey(ledgerKeyOf({ dom0: dom0Key.publicKey })), null],
])('the key may be given as %s', async (name, content) => {
  const own = ledgerOrigin(dom0Key.publicKey)
  stand.api.dom0.ledgerPage = await pages(entries(3), { name: own })
  const given = content === null ? name : path.join(stand.directory, name)
  if (content !== null) await writeFile(given, content)
  const { code, stdout, stderr } = await stand.run(['ledger', 'verify', '--key', given])
  expect([code, stdout, stderr]).toEqual([0, `3 entries of ${own} verified\n`, ''])
  stand.api.dom0.ledgerPage = await pages(entries(3), { name: own, signer: newSigner() })
  expect(await stand.run(['ledger', 'verify', '--key', given])).toMatchObject({ code: 4 })
})

test('a key that is missing, none or another one is a coded error, which says what is taken', async () => {
  stand.api.dom0.ledgerPage = await pages(entries(3))
  const missing = await stand.run(['ledger', 'verify', '--key', '/nowhere/key'])
  expect(missing).toMatchObject({
    code: 2,
    stderr: expect.stringMatching(
      /neither a key nor a file: \/nowhere\/key \[CLI_LEDGER_KEY\]\nhint: .*roles\.json.*verifier key.*base64/,
    ),
  })
  const other = formatVerifierKey(verifierKey('other.example', 'ed25519', newSigner().publicKey))
  for (const [content, code] of [
    ['', 'CLI_LEDGER_KEY'],
    ['hello', 'CLI_LEDGER_KEY'],
    [new Uint8Array([0xff, 0xfe]), 'CLI_LEDGER_KEY'],
    [key.replace(/.{4}$/, 'AAAA'), 'CLI_LEDGER_KEY'],
    ['{"keys":{}}', 'CLI_LEDGER_KEY'],
    [roles({ dom0: 'AAAA', hsm }), 'CLI_LEDGER_KEY'],
    [other, 'LEDGER_ORIGIN'],
    [toBase64(new Uint8Array(32)), 'LEDGER_ORIGIN'],
  ] as const) {
    await writeFile(path.join(stand.directory, 'bad.vkey'), content)
    const run = await stand.run(['ledger', 'verify', '--key', path.join(stand.directory, 'bad.vkey')])
    expect([run.stdout, run.stderr.includes(`[${code}]`)], String(content)).toEqual(['', true])
  }
})

test('an alarm is acknowledged once; without one that is said, and nothing is written', async () => {
  const { witness } = stand.api.catalogue
  const nothing =
    'error: there is nothing to acknowledge: the witness has raised no alarm [API_ALARM_NOT_FOUND]\nhint: nothing to do'
  const acknowledge = () => stand.run(['ledger', 'acknowledge'])
  expect(await acknowledge()).toMatchObject({
    code: 10,
    stdout: '',
    stderr: expect.stringContaining(nothing),
  })
  expect(await witness.get(origin)).toBeNull()

  const seen = new Date('2026-11-24T03:15:00Z')
  const quiet = { origin, size: 3, root: '00'.repeat(32), checkpoint: 'as it was', seen, alarm: null }
  await witness.put({ ...quiet, alarm: { code: 'LEDGER_FORKED', message: 'another past', time: seen } })
  expect(await acknowledge()).toMatchObject({ code: 0, stdout: 'the alarm is acknowledged\n' })
  expect(await witness.get(origin)).toEqual(quiet)
  expect(await acknowledge()).toMatchObject({ code: 10, stderr: expect.stringContaining(nothing) })
  expect(await witness.get(origin)).toEqual(quiet)
})
