import type { CliIo, CliOutput } from './io.ts'

export interface Style {
  readonly strong: (text: string) => string
  readonly bad: (text: string) => string
  readonly good: (text: string) => string
  readonly faint: (text: string) => string
}

/** Colour on terminals only, and never against https://no-color.org. It adds to words and never replaces them. */
export function styleFor(output: CliOutput, { variables }: CliIo): Style {
  const wanted = output.isTerminal && !variables.NO_COLOR && variables.TERM !== 'dumb'
  const paint = (on: number, off: number) => (text: string) =>
    wanted ? `\u001b[${on}m${text}\u001b[${off}m` : text
  return { strong: paint(1, 22), bad: paint(31, 39), good: paint(32, 39), faint: paint(2, 22) }
}
