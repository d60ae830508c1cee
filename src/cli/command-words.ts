import type { Command, Option } from 'commander'
import { allUsages } from '../usage/all.ts'
import type { CommandUsage, Usage } from '../usage/usage.ts'

/** A word of the command line, and what may follow it. */
export interface CommandWord {
  readonly name: string
  readonly summary: string
  readonly words: readonly CommandWord[]
  readonly options: readonly OptionWord[]
}

export interface OptionWord {
  /** With its dashes. */
  readonly name: string
  readonly text: string
  readonly takesValue: boolean
}

/** All that `strongroom` takes: the commands of the command line, and the roles with theirs. */
export function commandWords(program: Command): CommandWord {
  const own = wordOf(program, [])
  return { ...own, words: [...own.words, ...allUsages.map(roleWord)] }
}

function wordOf(command: Command, inherited: readonly Option[]): CommandWord {
  const options = [...command.options, ...inherited]
  return {
    name: command.name(),
    summary: command.summary(),
    words: command.commands.map(child => wordOf(child, options)),
    options: [...options.map(optionWord), helpWord],
  }
}

const helpWord: OptionWord = { name: '--help', text: 'show the help', takesValue: false }

function optionWord({ long, short, description, required }: Option): OptionWord {
  return { name: long ?? short ?? '', text: description, takesValue: required }
}

function roleWord({ name, summary, commands, options }: Usage): CommandWord {
  const optionsOf = (command: string | null): readonly OptionWord[] =>
    Object.entries(options)
      .filter(([, { of }]) => of === undefined || (command !== null && of.includes(command)))
      .map(([option, { type, text }]) => ({ name: `--${option}`, text, takesValue: type === 'string' }))
  const wordFor = (command: string, [name, usage]: readonly [string, CommandUsage]): CommandWord => ({
    name,
    summary: usage.text,
    words: Object.entries(usage.actions ?? {}).map(action => wordFor(command, action)),
    options: optionsOf(command),
  })
  const words = Object.entries(commands).map(entry => wordFor(entry[0], entry))
  return { name, summary, words, options: optionsOf(null) }
}
