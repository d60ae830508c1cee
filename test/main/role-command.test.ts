import { spawnSync } from 'node:child_process'
import path from 'node:path'
import { expect, it } from 'vitest'
import { allUsages } from '../../src/usage/all.ts'

const strongroom = path.join(import.meta.dirname, '../../bin/strongroom')

function run(...words: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(strongroom, words, { encoding: 'utf8' })
  return { status, stdout, stderr }
}

it.each(allUsages.map(usage => [usage.name, usage] as const))(
  'strongroom %s --help says what the process does and takes, whatever else there is',
  (name, { commands, options }) => {
    const { status, stdout, stderr } = run(name, '--help')
    expect([status, stderr]).toEqual([0, ''])
    expect(stdout).toMatch(new RegExp(`^Usage: strongroom ${name} `))
    for (const word of [...Object.keys(commands), ...Object.keys(options).map(option => `--${option}`)])
      expect(stdout).toMatch(new RegExp(`^  ${word}( |$)`, 'm'))
    expect(stdout).toContain(`\nExamples:\n  $ strongroom ${name} `)
  },
)

it.each(allUsages.map(({ name }) => name))(
  'strongroom %s with a word that is no command starts nothing',
  name => {
    expect(run(name, 'nosuch')).toEqual({
      status: 2,
      stdout: '',
      stderr: `error: there is no command 'nosuch' of ${name} (FIELD_INVALID)\nhint: see strongroom ${name} --help\n`,
    })
  },
)

it.each(['seal', 'host'])('strongroom %s without a command answers its help on stderr', name => {
  expect(run(name)).toEqual({ status: 2, stdout: '', stderr: run(name, '--help').stdout })
})
