import { spawnSync } from 'node:child_process'
import { openSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'

/** The descriptors of a program that a process starts which was itself started with one too many. */
function seenBelow(prepare: string): readonly string[] {
  const secret = openSync(import.meta.filename, 'r')
  const module = path.resolve('src/host/local/inherited.ts')
  const program = `import { spawnSync } from 'node:child_process'
    import { closeInherited } from ${JSON.stringify(module)}
    ${prepare}
    spawnSync('ls', ['-l', '/proc/self/fd'], { stdio: 'inherit' })`
  const gap = Array.from({ length: 30 }, () => 'ignore' as const)
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'pipe', ...gap, secret],
    encoding: 'utf8',
  })
  expect(stderr).toBe('')
  return stdout.split('\n').filter(line => line.includes(import.meta.filename))
}

test('what was left open does not reach what is started later', () => {
  expect(seenBelow('')).toHaveLength(1)
  expect(seenBelow('await closeInherited()')).toEqual([])
})
