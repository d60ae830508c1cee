import { Argument, type Command } from 'commander'
import { commandWords } from '../command-words.ts'
import { completionScript, type Shell, shells } from '../completions.ts'
import type { CliIo } from '../io.ts'
import { describe } from './command.ts'

export function addCompletions(parent: Command, io: CliIo): void {
  const command = describe({
    usage: 'completions',
    summary: 'print a completion script for a shell',
    examples: [
      'strongroom completions bash > /etc/bash_completion.d/strongroom',
      'strongroom completions fish > ~/.config/fish/completions/strongroom.fish',
    ],
  })
    .addArgument(new Argument('<shell>').choices([...shells]))
    .action((shell: Shell) => io.stdout.write(completionScript(shell, commandWords(parent))))
  parent.addCommand(command)
}
