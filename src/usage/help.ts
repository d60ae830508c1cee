import type { CommandUsage, Usage } from './usage.ts'

const columns = 110

/** The text of `strongroom NAME --help`. */
export function helpOf({ name, summary, serves, commands, options, examples }: Usage): string {
  const command = serves === null ? 'COMMAND' : '[COMMAND]'
  const commandRows = Object.entries(commands).flatMap(([word, command]) => rowsOf(word, command))
  const optionRows = Object.entries(options).map(([word, { value, of, text }]) => [
    value === undefined ? `--${word}` : `--${word} ${value}`,
    of === undefined ? text : `${of.join(', ')}: ${text}`,
  ])
  return `Usage: strongroom ${name} ${command} [options]

${sentence(summary)}

Commands:
${rows(serves === null ? commandRows : [['(none)', serves], ...commandRows])}
Options:
${rows(optionRows)}
Examples:
${examples.map(example => `  $ strongroom ${name} ${example}`.trimEnd()).join('\n')}
`
}

function rowsOf(words: string, { actions, operands, text }: CommandUsage): readonly (readonly string[])[] {
  if (actions !== undefined)
    return Object.entries(actions).flatMap(([action, usage]) => rowsOf(`${words} ${action}`, usage))
  return [[operands === undefined ? words : `${words} ${operands}`, text]]
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
}

function rows(table: readonly (readonly string[])[]): string {
  const width = Math.max(...table.map(([head = '']) => head.length))
  return table
    .map(([head = '', text = '']) => {
      const indent = `\n${' '.repeat(width + 4)}`
      return `  ${head.padEnd(width)}  ${wrapped(text, columns - width - 4).join(indent)}\n`
    })
    .join('')
}

function wrapped(text: string, width: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
