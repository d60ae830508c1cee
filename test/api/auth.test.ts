import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readTokenFile, tokenCheck, writeTokenFile } from '../../src/api/auth.ts'
import { countingEntropy, token } from './harness.ts'

let directory = ''
beforeEach(async () => {
  directory = await mkdtemp(path.join(os.tmpdir(), 'strongroom-auth-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('a token file is private, and its token is accepted in any case of the scheme', async () => {
  const file = path.join(directory, 'token')
  await writeTokenFile(file, countingEntropy())
  expect((await stat(file)).mode & 0o777).toBe(0o600)
  const made = (await readFile(file, 'utf8')).trim()
  expect(made).toMatch(/^[0-9a-f]{64}$/)
  const check = await readTokenFile(file)
  expect([check.accepts(`Bearer ${made}`), check.accepts(`bearer ${made}`)]).toEqual([true, true])
})

test.each([
  undefined,
  '',
  'Bearer',
  'Bearer ',
  token,
  `Basic ${token}`,
  `Bearer  ${token}`,
  `Bearer ${token} `,
  `Bearer ${token}\n`,
  `Bearer ${token.toUpperCase()}`,
  `Bearer ${token.slice(1)}`,
  `Bearer ${token}${token}`,
])('%j is not accepted', header => {
  expect(tokenCheck(token).accepts(header)).toBe(false)
})

test('a token file that is missing, open to others or empty gives no API', async () => {
  const file = path.join(directory, 'token')
  await expect(readTokenFile(file)).rejects.toMatchObject({ code: 'API_TOKEN_FILE' })
  await writeFile(file, `${token}\n`, { mode: 0o600 })
  await chmod(file, 0o640)
  await expect(readTokenFile(file)).rejects.toMatchObject({
    code: 'API_TOKEN_FILE',
    message: expect.stringContaining('640'),
  })
  await chmod(file, 0o600)
  for (const content of ['', '\n', 'password\n', `${token}\n${token}\n`]) {
    await writeFile(file, content)
    await expect(readTokenFile(file)).rejects.toMatchObject({ code: 'API_TOKEN_FILE' })
  }
})
