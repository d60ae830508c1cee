import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { diskFiles, type LedgerFiles } from '../../src/ledger/files.ts'
import { Ledger } from '../../src/ledger/log.ts'
import { jobEntries, jobEntry, options } from '../ledger/support.ts'

let directory: string
beforeAll(async () => {
  directory = await mkdtemp(path.join(tmpdir(), 'ledger-size-'))
})
afterAll(async () => {
  await rm(directory, { recursive: true })
})

it('works at the end of the tree only, however many entries there are', async () => {
  const ledger = await Ledger.create(directory, options)
  for (let at = 0; at < 10; at += 1) await ledger.append(jobEntries(10_000, at * 10_000))
  let touched = 0
  const counted = (at: string): LedgerFiles => {
    const files = diskFiles(at)
    const count =
      <A extends unknown[], R>(work: (...args: A) => R) =>
      (...args: A): R => {
        touched += 1
        return work(...args)
      }
    return { ...files, read: count(files.read), write: count(files.write) }
  }
  const again = await Ledger.open(directory, { ...options, audit: 'end', files: counted })
  await again.append([jobEntry(1)])
  await again.inclusion(50_000)
  await again.consistency(77_777)
  expect(again.size).toBe(100_002)
  expect(touched).toBeLessThan(20)
  await again.audit()
  expect(touched).toBeGreaterThan(2 * 390)
})
