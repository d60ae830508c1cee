import { open } from 'node:fs/promises'
import { describe, expect, test, vi } from 'vitest'
import { type Command, linesOf, systemCommands, textOf } from '../../src/host/commands.ts'

const never = new AbortController().signal

function command(program: string, ...rest: readonly string[]): Command {
  return { program, arguments: rest, millisecondsMax: 20_000, outputBytesMax: 1000 }
}

describe('a command', () => {
  test('gives its output', async () => {
    expect(await textOf(systemCommands, command('/bin/echo', 'two words', '$HOME;`id`'), never)).toBe(
      'two words $HOME;`id`\n',
    )
  })

  test('inherits nothing', async () => {
    process.env.PLANTED = 'planted'
    const text = await textOf(systemCommands, command('/usr/bin/env'), never)
    expect(text.split('\n').sort()).toEqual(['', 'LC_ALL=C', 'PATH=/usr/sbin:/usr/bin:/sbin:/bin'])
    delete process.env.PLANTED
  })

  test('finds an open file, and no other', async () => {
    const file = await open(import.meta.filename)
    const listing = { ...command('/bin/ls', '-l', '/proc/self/fd'), file: file.fd }
    const names = (await textOf(systemCommands, listing, never)).matchAll(/ (\d+) -> (\S+)/g)
    const files = [...names].filter(([, , target]) => target?.startsWith('/') && !target.includes('/proc/'))
    expect(files.map(([, fd, target]) => [fd, target])).toEqual([
      ['0', '/dev/null'],
      ['3', import.meta.filename],
    ])
    await file.close()
  })

  test.each<[string, Command, RegExp]>([
    ['is not an absolute path', command('echo'), /not an absolute path/],
    ['does not exist', command('/nonexistent/program'), /cannot be started \(ENOENT\)/],
    ['fails', command('/bin/sh', '-c', 'echo some; echo "too \u0007bad" >&2; exit 3'), /status 3: too \?bad/],
    ['is killed', command('/bin/sh', '-c', 'kill -TERM $$'), /SIGTERM/],
    [
      'says too much',
      command('/bin/sh', '-c', 'while :; do echo all work and no play; done'),
      /more than 1000/,
    ],
    ['complains without end', command('/bin/sh', '-c', 'head -c 9999999 /dev/zero >&2; exit 1'), /status 1/],
    ['takes too long', { ...command('/bin/sleep', '1000'), millisecondsMax: 100 }, /took over 100 ms/],
  ])('that %s is an error', async (_, given, message) => {
    await expect(textOf(systemCommands, given, never)).rejects.toMatchObject({
      code: 'COMMAND_FAILED',
      message: expect.stringMatching(message),
    })
  })

  test('ends with its signal', async () => {
    const abort = new AbortController()
    const reason = new Error('the caller has had enough')
    const text = textOf(systemCommands, command('/bin/sleep', '1000'), abort.signal)
    abort.abort(reason)
    await expect(text).rejects.toBe(reason)
    await expect(textOf(systemCommands, command('/bin/echo'), abort.signal)).rejects.toBe(reason)
  })

  test('ends when nobody reads on', async () => {
    let pid = 0
    for await (const part of systemCommands.output(
      command('/bin/sh', '-c', 'echo $$; exec sleep 1000'),
      never,
    )) {
      pid = Number(Buffer.from(part).toString())
      break
    }
    expect(pid).toBeGreaterThan(1)
    await vi.waitFor(() => expect(() => process.kill(pid, 0)).toThrow('ESRCH'), 10_000)
  })
})

describe('lines', () => {
  async function lines(parts: readonly string[], lengthMax = 20) {
    const bytes = async function* () {
      for (const part of parts) yield Buffer.from(part)
    }
    const all: string[] = []
    for await (const line of linesOf(bytes(), lengthMax)) all.push(line)
    return all
  }

  test('are found wherever the parts end', async () => {
    const text = 'one\ntwo\n\nthree'
    for (let cut = 0; cut <= text.length; cut++)
      expect(await lines([text.slice(0, cut), text.slice(cut)])).toEqual(['one', 'two', '', 'three'])
    expect(await lines(['one\n'])).toEqual(['one'])
    expect(await lines([])).toEqual([])
  })

  test.each([[['x'.repeat(21), '\n']], [['one\n', 'x'.repeat(10), `${'x'.repeat(11)}\n`]]])(
    'have a limit',
    async parts => {
      await expect(lines(parts)).rejects.toMatchObject({ code: 'COMMAND_FAILED' })
    },
  )
})
