import type { BigIntStats } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { fingerprintOf, readBootId } from '../../../src/host/local/fingerprint.ts'

const ext4 = 0xef53n
const hour = 3_600_000
const written = new Date('2026-11-24T03:15:00.123Z')
const stat = {
  dev: 1n,
  ino: 2n,
  size: 3n,
  mtimeNs: 4n,
  ctimeNs: BigInt(written.getTime()) * 1_000_000n + 456n,
} as BigIntStats
const since = (milliseconds: number) => new Date(written.getTime() + milliseconds)
const circumstances = { fileSystem: ext4, now: since(hour), boot: 'a boot' }

describe('the fingerprint of a file', () => {
  test('is another for another file, time, size or boot', () => {
    const fingerprint = fingerprintOf(stat, circumstances)
    expect(fingerprint).toMatch(/^a boot 1 2 3 4 \d+456$/)
    for (const field of ['dev', 'ino', 'size', 'mtimeNs', 'ctimeNs'] as const) {
      const other = { ...stat, [field]: stat[field] + 1n } as BigIntStats
      expect(fingerprintOf(other, circumstances)).not.toBe(fingerprint)
    }
    expect(fingerprintOf(stat, { ...circumstances, boot: 'another' })).not.toBe(fingerprint)
  })

  test.each<[string, BigIntStats, Partial<typeof circumstances> | { boot: null }]>([
    ['was written to just now', stat, { now: since(0) }],
    ['was written to minutes ago', stat, { now: since(9 * 60_000) }],
    ['was written to in the future', stat, { now: since(-hour) }],
    ['has times in full seconds', { ...stat, ctimeNs: 1_000_000_000n } as BigIntStats, {}],
    ['lies on a tmpfs', stat, { fileSystem: 0x1021994n }],
    ['lies on an NFS', stat, { fileSystem: 0x6969n }],
    ['lies on an overlay', stat, { fileSystem: 0x794c7630n }],
    ['lies on a machine that does not say when it started', stat, { boot: null }],
  ])('is none if it %s', (_, file, other) => {
    expect(fingerprintOf(file, { ...circumstances, ...other })).toBeNull()
  })

  test('knows this boot', async () => {
    expect(await readBootId()).toMatch(/^[0-9a-f-]{36}$/)
  })
})
