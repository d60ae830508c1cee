import { spawn } from 'node:child_process'
import fs from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemEnvironment } from '../../src/base/environment.ts'
import { LocalStore } from '../../src/storage/local.ts'
import { never, someObject, type TestObject } from '../contract/object-store.ts'

/* `strongroom storage scrub` as whoever looks after the disk runs it: beside the service, or without it. */

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')
let directory: string
let settings: string
const repositories = () => path.join(directory, 'repositories')

beforeEach(async () => {
  directory = await fs.mkdtemp(path.join(tmpdir(), 'scrub-'))
  settings = path.join(directory, 'settings.json')
  const content = { services: '/nowhere/services.sock', repositories: repositories(), quotaBytes: 1_000_000 }
  await fs.writeFile(settings, JSON.stringify(content))
})
afterEach(() => fs.rm(directory, { recursive: true, force: true }))

/** Objects in the order in which a scrub comes to them. */
async function fill(repository: string, count: number, bytes: number): Promise<readonly TestObject[]> {
  const store = new LocalStore(path.join(repositories(), repository), systemEnvironment)
  const objects = Array.from({ length: count }, (_, index) => someObject(`${repository} ${index}`, bytes))
  for (const { name, body } of objects) await store.put(name, body, never)
  return objects.toSorted((a, b) => (a.name < b.name ? -1 : 1))
}

async function damage(repository: string, { name, body }: TestObject): Promise<void> {
  const file = path.join(repositories(), repository, 'data', name.slice(5, 7), name.slice(5))
  await fs.chmod(file, 0o600)
  await fs.writeFile(
    file,
    body.map((byte, at) => (at === 0 ? byte ^ 1 : byte)),
  )
}

function start(...args: readonly string[]) {
  const child = spawn(strongroom, ['storage', 'scrub', ...args, '--settings', settings])
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', part => {
    said.stdout += part
  })
  child.stderr.on('data', part => {
    said.stderr += part
  })
  const ended = new Promise<typeof said & { code: number | null }>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve({ code, ...said }))
  })
  return { child, ended }
}
const run = (...args: readonly string[]) => start(...args).ended

describe('strongroom storage scrub', { timeout: 120_000 }, () => {
  test('looks at every repository, and says which objects are damaged', async () => {
    await fill('nightly.e1', 3, 1000)
    const [object] = await fill('weekly.e2', 4, 2000)
    if (object === undefined) throw new Error('no object')
    const right = await run()
    expect(right).toEqual({
      code: 0,
      stdout: [
        'nightly.e1: 3 objects, 2.9 KiB: all are what their names say',
        'weekly.e2: 4 objects, 7.8 KiB: all are what their names say',
        '',
      ].join('\n'),
      stderr: '',
    })
    await damage('weekly.e2', object)
    const wrong = await run()
    expect([wrong.code, wrong.stderr]).toEqual([4, ''])
    expect(wrong.stdout).toContain(`weekly.e2: 4 objects, 7.8 KiB: 1 DAMAGED\n  ${object.name}  content\n`)
    const json = await run('weekly.e2', '--json')
    expect([json.code, JSON.parse(json.stdout)]).toEqual([
      4,
      {
        v: 1,
        type: 'result',
        result: [
          {
            repository: 'weekly.e2',
            objects: 4,
            bytes: 8000,
            damaged: 1,
            findings: [{ name: object.name, fault: 'content' }],
          },
        ],
      },
    ])
  })

  test('can be stopped at any time, and goes on from there', async () => {
    const objects = await fill('nightly.e1', 64, 32 * 1024)
    const { child, ended } = start('--limit-read', '64K')
    const position = path.join(repositories(), '.scrub/nightly.e1.json')
    while ((await fs.stat(position).catch(() => null)) === null)
      await new Promise(resolve => setTimeout(resolve, 50))
    child.kill('SIGINT')
    const stopped = await ended
    expect([stopped.code, stopped.stdout]).toEqual([130, ''])
    expect(stopped.stderr).toBe(
      "error: the scrub of 'nightly.e1' was stopped (CANCELLED)\nhint: the next one goes on from there\n",
    )
    // It has been there already: who goes on from there does not see it, and who begins anew does.
    await damage('nightly.e1', objects[0] as TestObject)
    const rest = await run('--json')
    expect([rest.code, JSON.parse(rest.stdout).result]).toMatchObject([0, [{ objects: 64, damaged: 0 }]])
    expect((await run('--json')).code).toBe(4)
  })

  test('refuses what it cannot do', async () => {
    await fill('nightly.e1', 1, 10)
    for (const [args, code, message] of [
      [['hourly.e1'], 10, "there is no repository 'hourly.e1'"],
      [['../nightly.e1'], 2, 'NAME_INVALID'],
      [['--limit-read', 'much'], 2, "not a number of bytes: 'much'"],
      [['--nonsense'], 2, "'--nonsense'"],
    ] as const) {
      const ended = await run(...args)
      expect([ended.code, ended.stdout], message).toEqual([code, ''])
      expect(ended.stderr).toContain(message)
    }
  })
})
