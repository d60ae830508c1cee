import type { Command } from 'commander'

export const shells = ['bash', 'zsh', 'fish'] as const
export type Shell = (typeof shells)[number]

/** A completion script made from the command tree, so that it knows every command and option. */
export function completionScript(shell: Shell, program: Command): string {
  switch (shell) {
    case 'bash':
      return bash(program)
    case 'zsh':
      return `#compdef ${program.name()}\nautoload -U +X bashcompinit && bashcompinit\n${bash(program)}`
    case 'fish':
      return fish(program)
    default:
      return shell satisfies never
  }
}

interface Node {
  /** `schedule set`; empty for the program itself. */
  readonly path: string
  readonly command: Command
}

function nodes(command: Command, path = ''): readonly Node[] {
  const children = command.commands.flatMap(child => nodes(child, `${path} ${child.name()}`.trim()))
  return [{ path, command }, ...children]
}

function wordsOf({ command }: Node, program: Command): readonly string[] {
  const options = [...command.options, ...program.options].map(option => option.long ?? option.short ?? '')
  return [...command.commands.map(child => child.name()), ...new Set([...options, '--help'])].filter(Boolean)
}

function bash(program: Command): string {
  const name = program.name()
  const cases = nodes(program)
    .map(node => `    '${node.path}') words='${wordsOf(node, program).join(' ')}' ;;\n`)
    .join('')
  const groups = program.commands.filter(({ commands }) => commands.length > 0).map(child => child.name())
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

function fish(program: Command): string {
  const name = program.name()
  const lines = nodes(program).flatMap(({ path, command }) => {
    const where =
      path === '' ? '__fish_use_subcommand' : `__fish_seen_subcommand_from ${path.split(' ').at(-1)}`
    const children = command.commands.map(child => `-f -a ${child.name()} -d ${quoted(child.summary())}`)
    const options = command.options.map(
      option => `-l ${option.long?.slice(2)} -d ${quoted(option.description)}${option.required ? ' -r' : ''}`,
    )
    return [...children, ...options].map(rest => `complete -c ${name} -n '${where}' ${rest}\n`)
  })
  return lines.join('')
}

function quoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}
