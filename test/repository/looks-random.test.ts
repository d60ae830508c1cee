import { randomBytes } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { looksRandom } from '../../src/repository/looks-random.ts'

const bytes = 256 * 1024

test('ciphertext does, however often it is tried', () => {
  let yes = 0
  for (let run = 0; run < 200; run++) if (looksRandom(randomBytes(bytes))) yes += 1
  expect(yes).toBe(200)
})

test('text, programs, sparse pages and half-random data do not', () => {
  const program = readFileSync(process.execPath).subarray(0, bytes)
  const half = Buffer.concat([randomBytes(bytes / 2), Buffer.alloc(bytes / 2)])
  const base64 = Buffer.from(randomBytes(bytes).toString('base64')).subarray(0, bytes)
  for (const sample of [program, half, base64, Buffer.alloc(bytes, 'text '), Buffer.alloc(bytes)])
    expect(looksRandom(sample)).toBe(false)
})

test('what is too small to tell does not', () => {
  expect(looksRandom(randomBytes(4096))).toBe(false)
})
