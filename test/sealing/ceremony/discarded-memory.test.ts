import { spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { scanMemory } from '../../system/leak/memory.ts'
import { bytesNeedles } from '../../system/leak/needles.ts'
import { type Holder, people } from './holders.ts'
import { plainEntropy } from './plain-entropy.ts'

/* That a key which is discarded is nowhere in the memory of the process that made it. */

let all: Awaited<ReturnType<typeof people<'admin'>>>
let admin: Holder
beforeEach(async () => {
  all = await people('admin')
  ;({ admin } = all.holders)
  await admin.init({ custody: 'superadmin', expires: new Date('2090-01-01T00:00:00Z') })
  await admin.draft('roles.json', '{}\n')
  const { file } = (await admin.propose({ expires: new Date('2090-01-01T00:00:00Z') })).result
  await admin.sign(file)
  await admin.merge(file)
})
afterEach(() => all.directory[Symbol.asyncDispose]())

/** Six keys: of root, profiles, policy, hsm, schedules and machine. */
function seeds() {
  const entropy = plainEntropy()
  return Array.from({ length: 6 }, (_, index) => bytesNeedles(`seed ${index}`, entropy.bytes(32))).flat()
}

async function searched(mode: string) {
  const child = spawn(
    process.execPath,
    ['--expose-gc', path.join(import.meta.dirname, 'discard-and-wait.ts'), admin.directory, mode],
    // As a person's: with all in memory that compiling leaves there.
    { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, NODE_DISABLE_COMPILE_CACHE: '1' } },
  )
  await once(child.stdout, 'data')
  try {
    return scanMemory(child.pid ?? 0, 'the process that discarded', seeds(), 'writable')
  } finally {
    child.stdin.end()
    await once(child, 'close')
  }
}

test('a search finds what is kept on purpose', async () => {
  const scan = await searched('keep')
  expect(new Set(scan?.findings.map(({ name }) => name)).size).toBeGreaterThanOrEqual(6)
})

test('and nothing after the keys were discarded', async () => {
  const scan = await searched('none')
  expect(scan?.bytes).toBeGreaterThan(20 * 1024 * 1024)
  expect(scan?.findings).toEqual([])
})
