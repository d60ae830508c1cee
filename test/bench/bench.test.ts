import { type ChildProcess, spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import path from 'node:path'
import { expect, test } from 'vitest'
import { eventually } from '../api/harness.ts'
import { scratch } from '../support/scratch.ts'

const script = path.join(import.meta.dirname, '../../bench/bench.ts')

interface Bench {
  readonly child: ChildProcess
  /** Of its own: what it leaves there is left over. */
  readonly temporary: string
  readonly ended: Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }>
}

function startBench(...args: readonly string[]): Bench {
  const temporary = scratch('bench')
  const child = spawn(process.execPath, [script, ...args], { env: { ...process.env, TMPDIR: temporary } })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', part => {
    said.stdout += part
  })
  child.stderr.on('data', part => {
    said.stderr += part
  })
  const ended = new Promise<Awaited<Bench['ended']>>(resolve =>
    child.once('close', code => resolve({ code, ...said })),
  )
  return { child, temporary, ended }
}

test('prints one JSON object a line, and leaves nothing', async () => {
  const { temporary, ended } = startBench('index', '--blobs', '2000')
  const { code, stdout, stderr } = await ended
  expect([code, stderr, readdirSync(temporary)]).toEqual([0, '', []])
  const rows = stdout
    .trimEnd()
    .split('\n')
    .map(line => JSON.parse(line))
  expect(rows.length).toBeGreaterThan(10)
  for (const row of rows) expect(Object.keys(row)).toEqual(['what', 'value', 'unit'])
})

test.each(['SIGINT', 'SIGTERM'] as const)(
  'ends all that it has started at %s, and leaves nothing',
  async signal => {
    const { child, temporary, ended } = startBench('index', '--blobs', '100000000')
    await eventually(() =>
      readdirSync(temporary, { recursive: true }).some(name => `${name}`.endsWith('.list')),
    )
    child.kill(signal)
    const { code } = await ended
    expect([code, readdirSync(temporary)]).toEqual([130, []])
  },
)

test.each([
  [['nosuch'], "there is no 'nosuch'; there are growth, sweep, index, release, seal"],
  [['index', '--step', 'nosuch'], "there is no step 'nosuch'; there are objects, build"],
  [['seal', '--step', 'nosuch'], "there is no step 'nosuch'; there are make"],
  [['--size', '1X'], "not a size: '1X'"],
  [['growth', '--sizes', 'a'], '--sizes a: expected 1 or more'],
])('%j is refused', async (args, why) => {
  const { temporary, ended } = startBench(...args)
  const { code, stdout, stderr } = await ended
  expect([code, stdout, readdirSync(temporary)]).toEqual([2, '', []])
  expect(stderr).toContain(`bench: ${why}`)
})
