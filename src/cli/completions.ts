import type { CommandWord } from './command-words.ts'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

/** A completion script of everything that may follow `program`. */
export function completionScript(shell: Shell, program: CommandWord): string {
  switch (shell) {
    case 'bash':
      return bash(program)
    case 'zsh':
      return `#compdef ${program.name}\nautoload -U +X bashcompinit && bashcompinit\n${bash(program)}`
    case 'fish':
      return fish(program)
    default:
      return shell satisfies never
  }
}

interface Place {
  /** `['schedule', 'set']`; empty for the program itself. */
  readonly path: readonly string[]
  readonly word: CommandWord
}

function placesIn(word: CommandWord, path: readonly string[] = []): readonly Place[] {
  return [{ path, word }, ...word.words.flatMap(child => placesIn(child, [...path, child.name]))]
}

function bash(program: CommandWord): string {
  const { name } = program
  const cases = placesIn(program)
    .map(({ path, word }) => {
      const words = [...word.words, ...word.options].map(one => one.name)
      return `    '${path.join(' ')}') words='${words.join(' ')}' ;;\n`
    })
    .join('')
  const groups = program.words.filter(({ words }) => words.length > 0).map(group => group.name)
  return `_${name}() {
  local path='' words='' word index
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=\${COMP_WORDS[index]}
    case $word in -*) continue ;; esac
    if [ -z "$path" ]; then path=$word; else
      case $path in ${groups.join(' | ')}) path="$path $word" ;; esac
    fi
  done
  case $path in
${cases}  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _${name} ${name}
`
}

function fish(program: CommandWord): string {
  const { name } = program
  const lines = placesIn(program).flatMap(({ path, word }) => {
    const where = fishPlace(path, word)
    const words = word.words.map(child => `-f -a ${child.name} -d ${quoted(child.summary)}`)
    const options = word.options.map(
      option =>
        `-l ${option.name.slice('--'.length)} -d ${quoted(option.text)}${option.takesValue ? ' -r' : ''}`,
    )
    return [...words, ...options].map(rest => `complete -c ${name} -n '${where}' ${rest}\n`)
  })
  return lines.join('')
}

/** `show` alone would not do: two groups have one. */
function fishPlace(path: readonly string[], { words }: CommandWord): string {
  if (path.length === 0) return '__fish_use_subcommand'
  const seen = path.map(word => `__fish_seen_subcommand_from ${word}`)
  const next = words.map(({ name }) => name).join(' ')
  return [...seen, ...(next === '' ? [] : [`not __fish_seen_subcommand_from ${next}`])].join('; and ')
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
