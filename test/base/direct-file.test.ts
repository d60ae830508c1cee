import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { KiB, MiB } from '../../src/base/bytes.ts'
import { DirectFile } from '../../src/base/direct-file.ts'
import { scratch } from '../support/scratch.ts'

/** In memory not every kernel writes past the page cache. */
const inMemory = mkdtempSync('/dev/shm/strongroom-direct-')
afterAll(() => rmSync(inMemory, { recursive: true }))
const places = { 'on disk': scratch('direct'), 'in memory': inMemory }

describe.each(Object.entries(places))('a file written past the page cache, %s', (_, directory) => {
  test('holds what was written, however it lies', () => {
    const file = path.join(directory, 'volume')
    const expected = Buffer.alloc(12 * MiB + 777)
    writeFileSync(file, '')
    truncateSync(file, expected.byteLength)
    {
      using direct = new DirectFile(file)
      const write = (length: number, offset: number) => {
        const bytes = randomBytes(length)
        expected.set(bytes, offset)
        direct.write(bytes, offset)
        bytes.fill(0) // they have been copied
      }
      write(256 * KiB, 0)
      write(256 * KiB, 256 * KiB)
      write(5 * MiB, 512 * KiB)
      write(256 * KiB, 8 * MiB)
      write(1000, 7 * MiB + 13)
      write(777, 12 * MiB)
      write(64 * KiB, 11 * MiB + 512)
      direct.flush()
    }
    expect(readFileSync(file).equals(expected)).toBe(true)
  })
})

test('a disk that is full is told as the reason', () => {
  using direct = new DirectFile('/dev/full')
  direct.write(randomBytes(MiB), 0)
  expect(() => direct.flush()).toThrow('ENOSPC')
})

test('follows no link', () => {
  const directory = scratch('direct')
  const [file, link] = ['volume', 'link'].map(name => path.join(directory, name)) as [string, string]
  writeFileSync(file, '')
  symlinkSync(file, link)
  expect(() => new DirectFile(link)).toThrow('ELOOP')
})
