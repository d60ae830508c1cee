import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { toBase64 } from '../../src/base/bytes.ts'
import { systemEntropy } from '../../src/base/environment.ts'
import { generateEd25519 } from '../../src/crypto/signing.ts'
import { atTerminal, type TerminalSession } from '../support/terminal.ts'

/* The ceremony as a person meets it. */

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'seal-terminal-'))
})
afterEach(() => rm(directory, { recursive: true }))

/** Runs `strongroom seal …` and types `answers` one after another, as passphrases are asked for. */
function onTerminal(answers: readonly string[], ...args: readonly string[]): Promise<TerminalSession> {
  const typed = answers.map(answer => ({ after: /passphrase.*: /i, type: `${answer}\r` }))
  return atTerminal([strongroom, 'seal', ...args, '--dir', directory], typed)
}

function publicKey(): string {
  using key = generateEd25519(systemEntropy)
  return toBase64(key.publicKey)
}

async function draftRoles(): Promise<void> {
  const keys = { dom0: publicKey(), hsm: publicKey(), management: publicKey() }
  await mkdir(path.join(directory, 'draft'), { recursive: true })
  await writeFile(
    path.join(directory, 'draft/roles.json'),
    JSON.stringify({ hsm: ['vault'], storage: ['store'], management: ['mgmt'], keys }),
  )
}

const right = 'two small words'

it('makes encrypted keys and signs with them, asking once for each signing', async () => {
  const made = await onTerminal([right, right], 'init')
  expect(made).toMatchObject({ code: 0 })
  expect(await readFile(path.join(directory, 'keys/root.pem.age'), 'latin1')).toMatch(
    /^age-encryption\.org\/v1\n/,
  )

  await draftRoles()
  const wrong = await onTerminal(['another'], 'sign', '--yes')
  expect(wrong.shown).toContain('SEAL_KEY_PASSPHRASE_WRONG')
  expect(wrong.code).not.toBe(0)

  const signed = await onTerminal([right], 'sign', '--yes')
  expect(signed).toMatchObject({ code: 0, shown: expect.stringContaining('sealed    version 1') })
  expect(made.shown + signed.shown).not.toContain(right)
})

it.each([
  ['empty', ['', ''], 'protects nothing'],
  ['typed differently the second time', [right, 'two smal words'], 'differ'],
])('makes no keys with a passphrase that is %s', async (_, answers, why) => {
  const refused = await onTerminal(answers, 'init')
  expect(refused.shown).toContain(why)
  expect(refused.code).toBe(2)
  expect(await readdir(directory)).toEqual([])
})
