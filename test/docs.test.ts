import { existsSync, globSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { describe, expect, it } from 'vitest'
import { systemClock } from '../src/base/environment.ts'
import { runCli } from '../src/cli/program.ts'
import { allUsages } from '../src/usage/all.ts'
import { helpOf } from '../src/usage/help.ts'

const root = path.join(import.meta.dirname, '..')
const pages = ['README.md', ...globSync('docs/**/*.md', { cwd: root })].sort()
const read = (page: string) => readFileSync(path.join(root, page), 'utf8')

const fences = /^ *```[^\n]*\n(.*?)^ *```$/gms

function withoutFences(text: string): string {
  return text.replace(fences, '')
}

/** As GitHub names them. */
function anchorsOf(text: string): ReadonlySet<string> {
  const headings = withoutFences(text).matchAll(/^#+ (.+)$/gm)
  return new Set(
    [...headings].map(([, heading = '']) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N} _-]/gu, '')
        .replaceAll(' ', '-'),
    ),
  )
}

function brokenLinks(page: string, text: string): readonly string[] {
  const prose = withoutFences(text).replace(/`[^`\n]*`/g, '')
  const targets = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
  return targets.filter(target => {
    if (/^https?:/.test(target)) return false
    const [file = '', anchor] = target.split('#')
    const wanted = file === '' ? page : path.join(path.dirname(page), file)
    if (!existsSync(path.join(root, wanted))) return true
    const there = file === '' ? text : anchor === undefined ? '' : read(wanted)
    return anchor !== undefined && !anchorsOf(there).has(anchor)
  })
}

/** The words after `strongroom` of every command that a page shows. */
function commandsOf(text: string): readonly (readonly string[])[] {
  const blocks = [...text.matchAll(fences)].map(([, block = '']) => block.replace(/\\\n\s*/g, ''))
  const lines = blocks.flatMap(block => block.split('\n').map(line => line.trim()))
  const spans = [...withoutFences(text).matchAll(/`([^`\n]+)`/g)].map(([, span = '']) => span)
  const shown = [...lines.map(line => /^\$ ((?:bin\/)?strongroom .*)$/.exec(line)?.[1]), ...spans]
  return (
    shown
      .map(line => /^(?:bin\/)?strongroom ([a-z].*)$/.exec(line ?? '')?.[1])
      .filter(words => words !== undefined)
      .map(words => (words.split(/ [;|>]|;/)[0] ?? '').trim())
      // What stands behind `--` is a command of its own.
      .flatMap(words => words.split(/ --(?: |$)/).map(part => part.trim().split(/\s+/)))
      .filter(([first]) => first !== '')
  )
}

/** What `--help` says of the command that `words` begin with, or `null` when there is none. */
async function shownHelp([first = '', second = '']: readonly string[]): Promise<string | null> {
  const role = allUsages.find(({ name }) => name === first)
  if (role !== undefined) return second === '' || Object.hasOwn(role.commands, second) ? helpOf(role) : null
  const help = await cliHelp([first])
  if (!help.startsWith(`Usage: strongroom ${first} `)) return null
  if (!/^Commands:/m.test(help) || second === '') return help
  const inner = await cliHelp([first, second])
  return inner.startsWith(`Usage: strongroom ${first} ${second} `) ? inner : null
}

async function cliHelp(words: readonly string[]): Promise<string> {
  const said: string[] = []
  const output = { write: (text: string) => void said.push(text), isTerminal: false, columns: 80 }
  const io = {
    stdout: output,
    stderr: output,
    variables: {},
    clock: systemClock,
    onInterrupt: () => () => {},
  }
  await runCli([...words, '--help'], io)
  return said.join('')
}

/** What is wrong with a command, or `null`. */
async function wrongWith(words: readonly string[]): Promise<string | null> {
  const help = await shownHelp(words)
  if (help === null) return `no command: ${words.join(' ')}`
  const options = words.filter(word => /^--[a-z]/.test(word)).map(word => word.split('=')[0] ?? word)
  const unknown = options.filter(option => !new RegExp(`${option}(?![a-z-])`).test(help))
  return unknown.length === 0 ? null : `${words.join(' ')}: no option ${unknown.join(', ')}`
}

describe('pages', () => {
  it('the scan sees them, and finds what is planted', async () => {
    expect(pages.length).toBeGreaterThan(12)
    expect(pages.flatMap(page => commandsOf(read(page))).length).toBeGreaterThan(40)
    expect(
      brokenLinks('docs/how-to/schedules.md', '[a](nosuch.md) [b](schedules.md#nosuch) [c](#here)\n# Here'),
    ).toEqual(['nosuch.md', 'schedules.md#nosuch'])
    expect(commandsOf('`strongroom nosuch`\n```\n$ bin/strongroom order a --wait; echo $?\n```\n')).toEqual([
      ['order', 'a', '--wait'],
      ['nosuch'],
    ])
    for (const words of ['nosuch', 'schedule nosuch', 'seal nosuch', 'dom0 nosuch'])
      expect(await wrongWith(words.split(' ')), words).toBe(`no command: ${words}`)
    expect(await wrongWith(['order', 'a', '--wai'])).toBe('order a --wai: no option --wai')
  })

  it.each(pages)('%s: every link within the project leads somewhere', page => {
    expect(brokenLinks(page, read(page))).toEqual([])
  })

  it('every command and option that is shown exists', async () => {
    const shown = new Map(
      pages.flatMap(page => commandsOf(read(page)).map(words => [words.join(' '), words])),
    )
    const wrong = await Promise.all([...shown.values()].map(wrongWith))
    expect(wrong.filter(one => one !== null)).toEqual([])
  })

  it('every error code that is explained exists', () => {
    const known = read('docs/reference/errors.md')
    const codes = pages.flatMap(page =>
      [...read(page).matchAll(/`([A-Z]+(?:_[A-Z]+)+)`/g)].map(([, code]) => code),
    )
    const prefixes = /^(SEAL|LEDGER|HSM|STORAGE|REPOSITORY|SNAPSHOT|RESTORE|PROFILE|VOLUME)_/
    const ours = [...new Set(codes)].filter(code => prefixes.test(code ?? ''))
    expect(ours.length).toBeGreaterThan(40)
    expect(ours.filter(code => !known.includes(`\`${code}\``))).toEqual([])
  })

  it('one block of the emergency restore can be run as it stands', () => {
    const blocks = [...read('docs/how-to/emergency-restore.md').matchAll(/^```sh emergency\n(.*?)^```$/gms)]
    expect(blocks).toHaveLength(1)
    const used = new Set([...(blocks[0]?.[1] ?? '').matchAll(/\$\{?([A-Z_]+)/g)].map(([, name]) => name))
    expect([...used].sort()).toEqual(['ENVELOPE', 'RECOVERY_KEY', 'REPOSITORY', 'SNAPSHOT', 'TARGET'])
  })
})
