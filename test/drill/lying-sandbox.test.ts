import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { MiB } from '../../src/base/bytes.ts'
import { systemClock } from '../../src/base/environment.ts'
import { createLog, type Log, silentLog } from '../../src/base/log.ts'
import { parseVolumeName } from '../../src/base/names.ts'
import { examineVolumes } from '../../src/drill/examine.ts'
import { verdictBytesMax } from '../../src/drill/protocol.ts'
import { sandboxesThrough, serveSandboxes } from '../../src/host/local/sandbox-door.ts'
import type { Sandboxes } from '../../src/host/sandboxes.ts'
import { scratch } from '../support/scratch.ts'
import {
  examine,
  job,
  limits,
  never,
  noRules,
  pretended,
  sandboxesOf,
  type Trial,
  Volumes,
  vm,
} from './support.ts'

const volumes = new Volumes()
volumes.add('root', MiB)
const rules = {
  ...noRules,
  files: [
    { vm, volume: parseVolumeName('root'), path: '/x', sha256: null, ageDaysMax: null, contains: null },
  ],
  program: 'exit 0',
}
const order = volumes.order({ levels: ['filesystem', 'files', 'program'], rules })

const sound = { finding: 'FILE_SYSTEMS_SOUND', volume: null, partition: null, number: 0, milliseconds: 1 }
const honest = [
  { ...sound, level: 'filesystem' },
  { ...sound, level: 'files', finding: 'FILES_HOLD', number: 1 },
  { ...sound, level: 'program', finding: 'PROGRAM_PASSED', number: null },
]
const [first, second, third] = honest
const verdict = `${JSON.stringify({ levels: honest, tools: [] })}\n`

/** The program inside, as a script. */
const script = (code: string): Trial => ({ command: ['--input-type=module', '-e', code] })
/** What a sandbox says, and nothing else of it: these need no walls. */
const says = (text: string): Sandboxes => pretended(there => void there.end(text))
const answers = (levels: readonly object[], tools: readonly object[] = [], more: object = {}): Sandboxes =>
  says(`${JSON.stringify({ levels, tools, ...more })}\n`)

async function resultOf(liar: Trial | Sandboxes, log: Log = silentLog) {
  const examined =
    'start' in liar
      ? await examineVolumes({ sandboxes: liar, limits, log }, order, never)
      : await examine(volumes, order, { ...liar, log })
  return examined.levels
}

/** Groups of this process: those of other tests beside have other numbers. */
function groupsLeft(): readonly string[] {
  return ['', '/memory', '/pids', '/cpu'].flatMap(name => {
    try {
      return readdirSync(`/sys/fs/cgroup${name}`).filter(one => one.startsWith(`strongroom-${process.pid}.`))
    } catch {
      return []
    }
  })
}

describe('a sandbox that was taken over', () => {
  it('is believed when it answers what was asked', async () => {
    const found = await resultOf(answers(honest, [{ name: 'e2fsck', version: '1.47.0' }]))
    expect(found.map(({ level, result }) => [level, result])).toEqual([
      ['filesystem', 'passed'],
      ['files', 'passed'],
      ['program', 'passed'],
    ])
  })

  it.each<[string, Trial | Sandboxes]>([
    ['says nothing', says('')],
    ['ends with a status', script('process.exit(9)')],
    ['says garbage', says('\0\xff{}\n')],
    ['says no JSON', says('hello\n')],
    ['says a number', says('7\n')],
    ['answers nothing', answers([])],
    ['leaves levels out', answers(honest.slice(0, 2))],
    ['turns them round', answers([second, first, third].filter(one => one !== undefined))],
    ['repeats one', answers([first, first, second].filter(one => one !== undefined))],
    ['answers more', answers([...honest, ...honest])],
    ['goes on after a fault', answers([{ ...first, finding: 'TABLE_BROKEN' }, ...honest.slice(1)])],
    [
      'says of one what is for another',
      answers([{ ...first, finding: 'PROGRAM_PASSED' }, ...honest.slice(1)]),
    ],
    ['has a finding of its own', answers([{ ...first, finding: 'ALL_IS_WELL' }])],
    ['has a finding that every object has', answers([{ ...first, finding: 'constructor' }])],
    ['adds a text', answers([{ ...first, message: 'I am fine' }, ...honest.slice(1)])],
    ['adds a field', answers(honest, [], { note: 'x' })],
    ['speaks of another volume', answers([{ ...first, finding: 'TABLE_BROKEN', volume: 2 }])],
    [
      'speaks of another rule',
      answers([first, { ...second, finding: 'FILE_ABSENT', number: 2 }].filter(one => one !== undefined)),
    ],
    ['tells a secret as a version', answers(honest, [{ name: 'e2fsck', version: 'hunter2' }])],
    ['tells one by a tool', answers(honest, [{ name: 'hunter2', version: '1.0' }])],
    [
      'repeats a tool',
      answers(
        honest,
        ['1.0', '2.0'].map(version => ({ name: 'e2fsck', version })),
      ),
    ],
    ['answers twice', says(`${JSON.stringify({ levels: honest, tools: [] })}\n`.repeat(2))],
    ['does not end its line', says(JSON.stringify({ levels: honest, tools: [] }))],
    [
      'says too much',
      says(`${' '.repeat(verdictBytesMax)}${JSON.stringify({ levels: honest, tools: [] })}\n`),
    ],
    ['has a key twice', says('{"levels":[],"levels":[],"tools":[]}\n')],
    ['nests', says(`${'['.repeat(8000)}\n`)],
    [
      'floods',
      script(`const part = Buffer.alloc(1 << 20, 10)
        for (let i = 0; i < 1024; i++) if (!process.stdout.write(part)) await new Promise(go => process.stdout.once('drain', go))`),
    ],
    [
      'floods standard error, too',
      script(`const part = 'x'.repeat(1 << 20)
        for (let i = 0; i < 256; i++) process.stderr.write(part)
        process.stdout.write('no verdict\\n')`),
    ],
  ])('is suspicious when it %s', async (_, liar) => {
    const lines: string[] = []
    const log = createLog('test', line => lines.push(line))
    expect(await resultOf(liar, log)).toEqual([
      {
        level: 'filesystem',
        result: 'suspicious',
        message: 'the sandbox gave no verdict that can be believed, and was destroyed',
        milliseconds: 0,
      },
    ])
    expect(lines.join('').length).toBeLessThan(200_000)
    expect(groupsLeft()).toEqual([])
  })

  it.each([
    ['never answers', 'setInterval(() => {}, 1000)'],
    [
      'answers and does not end',
      `process.stdout.write(${JSON.stringify(`${JSON.stringify({ levels: honest, tools: [] })}\n`)}); setInterval(() => {}, 1000)`,
    ],
    ['answers a byte at a time', "setInterval(() => process.stdout.write(' '), 50)"],
  ])('is suspicious when it %s', async (_, code) => {
    expect(await resultOf({ ...script(code), limits: { millisecondsMax: 1500 } })).toEqual([
      {
        level: 'filesystem',
        result: 'suspicious',
        message: 'the sandbox gave no verdict in time, and was destroyed',
        milliseconds: 0,
      },
    ])
    expect(groupsLeft()).toEqual([])
  })

  it('that claims to have needed years needed the time that there was', async () => {
    const [one] = await resultOf(answers([{ ...first, milliseconds: 2 ** 50 }, ...honest.slice(1)]))
    expect(one?.milliseconds).toBe(60_000)
  })

  it('whose child outlives its verdict is destroyed with it', async () => {
    const code = `import { spawn } from 'node:child_process'
      spawn('setsid', ['sleep', '4711.25'], { stdio: 'inherit', detached: true })
      await new Promise(go => setTimeout(go, 300))
      process.stdout.write(${JSON.stringify(`${JSON.stringify({ levels: honest, tools: [] })}\n`)}, () => process.exit(0))`
    expect((await resultOf(script(code))).map(({ result }) => result)).toEqual(['passed', 'passed', 'passed'])
    const commands = readdirSync('/proc')
      .filter(name => /^\d+$/.test(name))
      .map(commandOf)
    expect(commands.filter(text => text.includes('4711.25'))).toEqual([])
  })

  it('ends the examination when that is cancelled, and no verdict comes of it', async () => {
    const abort = new AbortController()
    const examined = examine(volumes, order, {
      ...script('setInterval(() => {}, 1000)'),
      signal: abort.signal,
    })
    const outcome = expect(examined).rejects.toThrow('cancelled')
    await systemClock.sleep(100)
    abort.abort(new Error('cancelled'))
    await outcome
    expect(groupsLeft()).toEqual([])
  })
})

describe('dom0', () => {
  it('does not start one for a task that it would not take', async () => {
    const wide = '\u20ac'.repeat(8192)
    const [rule] = rules.files
    if (rule === undefined) throw new Error('no rule')
    const long = { ...rule, path: `/${wide.slice(0, 1000)}`, contains: wide.slice(0, 200) }
    const large = {
      ...order,
      rules: { ...rules, program: wide, files: Array.from({ length: 32 }, () => long) },
    }
    await expect(examine(volumes, large)).rejects.toMatchObject({ code: 'EXAMINATION_TOO_LARGE' })
  })

  it('is answered through the door of the local host, and its going away ends the sandbox', async () => {
    const door = path.join(scratch('door'), 'drill-sandboxes.sock')
    const honestly = {
      command: ['--input-type=module', '-e', `process.stdout.write(${JSON.stringify(verdict)})`],
    }
    const listener = await serveSandboxes(door, sandboxesOf(volumes.root, honestly), silentLog)
    const sandboxes = sandboxesThrough(door)
    const { levels } = await examineVolumes({ sandboxes, limits, log: silentLog }, order, never)
    expect(levels.map(({ result }) => result)).toEqual(['passed', 'passed', 'passed'])
    await listener.close()
    const idle = { command: ['--input-type=module', '-e', 'setInterval(() => {}, 1000)'] }
    const second = await serveSandboxes(door, sandboxesOf(volumes.root, idle), silentLog)
    const sandbox = await sandboxesThrough(door).start(job, limits, never)
    expect(groupsLeft().length).toBeGreaterThan(0)
    await sandbox[Symbol.asyncDispose]()
    await expect.poll(groupsLeft).toEqual([])
    await second.close()
  })

  it('is told when no volumes are there', async () => {
    await expect(
      examine(new Volumes(), { ...order, job: 'no-such-job' as typeof order.job }),
    ).rejects.toMatchObject({
      code: 'VOLUME_MISSING',
    })
  })
})

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1')
  } catch {
    return ''
  }
}
