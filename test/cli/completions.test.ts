import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { allUsages } from '../../src/usage/all.ts'
import { helpOf } from '../../src/usage/help.ts'
import { runHere } from './harness.ts'

interface Shown {
  readonly path: readonly string[]
  readonly commands: readonly string[]
  readonly options: readonly string[]
}

const namesIn = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, name = '']) => name)

/** The commands and options that a help shows. */
function shownIn(help: string, path: readonly string[]): Shown {
  const [, commands = ''] = /^Commands:\n((?: .*\n)*)/m.exec(help) ?? []
  return {
    path,
    commands: namesIn(commands, /^ {2}([a-z][a-z0-9-]*)/gm),
    options: namesIn(help, /^ {2}(?:-[a-z], )?(--[a-z][a-z0-9-]*)/gm),
  }
}

/** Of every command of the command line. */
async function shownBelow(path: readonly string[]): Promise<readonly Shown[]> {
  const shown = shownIn((await runHere([...path, '--help'])).stdout, path)
  const below = await Promise.all(shown.commands.map(command => shownBelow([...path, command])))
  return [shown, ...below.flat()]
}

/** What bash offers behind each of the given words. */
function offeredBehind(
  script: string,
  paths: readonly (readonly string[])[],
): readonly (readonly string[])[] {
  const asked = paths.map(
    path =>
      `COMP_WORDS=(strongroom ${path.join(' ')} ''); COMP_CWORD=${path.length + 1}; _strongroom; echo "\${COMPREPLY[*]}"`,
  )
  const { stdout, stderr } = spawnSync('bash', ['-c', `${script}\n${asked.join('\n')}`], { encoding: 'utf8' })
  expect(stderr).toBe('')
  return stdout
    .trimEnd()
    .split('\n')
    .map(line => line.split(' '))
}

test('bash offers every command and option of the command line, where it belongs', async () => {
  const { stdout: script } = await runHere(['completions', 'bash'])
  const all = await shownBelow([])
  expect(all.length).toBeGreaterThan(15)
  const offered = offeredBehind(
    script,
    all.map(({ path }) => path),
  )
  for (const [at, { path, commands, options }] of all.entries())
    expect(offered[at], path.join(' ')).toEqual(expect.arrayContaining([...commands, ...options]))
})

test('bash offers every role, its commands, and the options of each', async () => {
  const { stdout: script } = await runHere(['completions', 'bash'])
  const [first = []] = offeredBehind(script, [[]])
  expect(first).toEqual(expect.arrayContaining(['seal', 'hsm', 'host', 'dom0', 'storage', 'management']))
  for (const usage of allUsages) {
    const { commands, options } = shownIn(helpOf(usage), [usage.name])
    expect(commands.length).toBeGreaterThan(0)
    const paths = [[usage.name], ...commands.map(command => [usage.name, command])]
    const [group = [], ...each] = offeredBehind(script, paths)
    expect(group).toEqual(expect.arrayContaining([...commands]))
    const actions = Object.values(usage.commands).flatMap(one => Object.keys(one.actions ?? {}))
    expect(new Set([...group, ...each.flat()])).toEqual(new Set([...commands, ...actions, ...options]))
  }
  const [init, sign] = offeredBehind(script, [
    ['seal', 'init'],
    ['seal', 'sign'],
  ])
  expect([init?.includes('--custody'), sign?.includes('--custody')]).toEqual([true, false])
  const [keys] = offeredBehind(script, [['hsm', 'recovery-key']])
  expect(keys).toEqual(expect.arrayContaining(['new', 'split', 'combine', 'verify', '--words']))
})

test('fish tells the same word of two groups apart', async () => {
  const { stdout } = await runHere(['completions', 'fish'])
  const behind = (group: string, command: string) =>
    stdout
      .split('\n')
      .filter(line =>
        line.includes(`'__fish_seen_subcommand_from ${group}; and __fish_seen_subcommand_from ${command}'`),
      )
      .flatMap(line => namesIn(line, / -l ([a-z][a-z0-9-]*)/g))
  expect(behind('seal', 'init')).toContain('custody')
  expect(behind('hsm', 'init')).toContain('settings')
  expect(behind('hsm', 'init')).not.toContain('custody')
  expect(behind('ledger', 'show')).toContain('from')
  expect(behind('schedule', 'show')).not.toContain('from')
})
