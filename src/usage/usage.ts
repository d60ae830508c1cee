/*
 * What the process of a role takes on its command line, said once: its parser, its help and the shell completions are made
 * from it.
 */

/** Also what node's `parseArgs` takes. */
export interface OptionUsage {
  readonly type: 'string' | 'boolean'
  readonly multiple?: true
  /** What stands for its value in the help: `FILE`. */
  readonly value?: string
  /** The commands that it is for; all where absent. */
  readonly of?: readonly string[]
  readonly text: string
}

export interface CommandUsage {
  /** What it does is the word behind it: `recovery-key verify`. Each has its row in the help. */
  readonly actions?: Readonly<Record<string, CommandUsage>>
  /** `PROFILE`, `[REPOSITORY...]`. */
  readonly operands?: string
  readonly text: string
}

export interface Usage<Command extends string = string> {
  /** `strongroom NAME`. */
  readonly name: string
  readonly summary: string
  /** What it does without a command; `null`: it needs one. */
  readonly serves: string | null
  readonly commands: Readonly<Record<Command, CommandUsage>>
  readonly options: Readonly<Record<string, OptionUsage>>
  /** Without `strongroom NAME`. */
  readonly examples: readonly string[]
}

export const jsonOption = { type: 'boolean', text: 'one JSON object instead of text' } as const
export const helpOption = { type: 'boolean', text: 'this text' } as const

/** Of a process that reads where its things are from a file. */
export function settingsOption<const File extends string>(file: File) {
  return { type: 'string', value: 'FILE', text: `default: ${file}` } as const
}
