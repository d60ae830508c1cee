import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { expect, test } from 'vitest'

/*
 * Device-mapper and LVM for real, wherever the tests run: a user-mode Linux kernel of Debian's, which is a plain program,
 * makes a thin pool on a file and runs contract.inside.ts on it. The machine's own devices are never touched.
 */

const product = path.join(import.meta.dirname, '../../..')

test('volumes in a real thin pool keep the contract', { timeout: 5_400_000 }, async () => {
  const out = mkdtempSync(path.join(tmpdir(), 'thin-pool-'))
  const disk = path.join(out, 'disk')
  closeSync(openSync(disk, 'w'))
  truncateSync(disk, 400 * 1024 * 1024)
  const kernel = spawn(
    '/usr/bin/linux.uml',
    [
      ...['rootfstype=hostfs', 'rootflags=/', 'ro', 'mem=700M', `ubd0=${disk}`, 'con=null', 'con0=null'],
      `init=${path.join(import.meta.dirname, 'init.sh')}`,
      ...[`OUT=${out}`, `PRODUCT=${product}`, `NODE=${process.execPath}`],
    ],
    { stdio: 'ignore' },
  )
  await once(kernel, 'exit')
  const log = readFileSync(path.join(out, 'log'), 'utf8')
  const report = (() => {
    try {
      return JSON.parse(readFileSync(path.join(out, 'report.json'), 'utf8')) as Record<string, unknown>
    } catch {
      return null
    }
  })()
  expect(report, log).toMatchObject({ success: true, numFailedTests: 0, numPendingTests: 0 })
  expect(report?.numPassedTests).toBeGreaterThan(10)
  rmSync(out, { recursive: true })
})
