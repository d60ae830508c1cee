import { execFileSync } from 'node:child_process'
import path from 'node:path'
import type { Duplex } from 'node:stream'
import { text } from 'node:stream/consumers'
import { parseVmName } from '../../src/base/names.ts'
import { runToEnd } from '../system/strongroom.ts'
import { never } from './support.ts'
import type { World } from './world.ts'

/* What stock Qubes does with a passphrase, with the same program in the same way. */

/** A service's whole answer to dom0, or to `world.source`. */
export async function ask(world: World, service: string, argument: string, input = ''): Promise<string> {
  const stream: Duplex = await world.transport.open(service, argument, parseVmName('sys-hsm'), never)
  stream.end(input)
  return await text(stream)
}

/**
 * scrypt(1) on a terminal of its own, into which passphrase lines are typed, as core-admin's `launch_scrypt` does: `prefix!`, then the
 * passphrase. A small N, so that it takes no gigabytes.
 */
const typed = `
import os, pty, sys
prefix, mode, source, target = sys.argv[1:]
passphrase = (prefix + '!').encode() + sys.stdin.buffer.read()
pid, fd = pty.fork()
if pid == 0:
    options = ['--logN', '10', '-r', '8', '-p', '1'] if mode == 'enc' else []
    os.execvp('scrypt', ['scrypt', mode, *options, source, target])
prompts = [b'Please enter passphrase: '] + ([b'Please confirm passphrase: '] if mode == 'enc' else [])
for prompt in prompts:
    seen = b''
    while not seen.endswith(prompt):
        seen += os.read(fd, 1)
    os.write(fd, passphrase + b'\\n')
try:
    while os.read(fd, 1024):
        pass
except OSError:
    pass
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`

export function scryptTyped(
  mode: 'enc' | 'dec',
  prefix: string,
  passphrase: string,
  [source, target]: readonly [string, string],
): void {
  execFileSync('python3', ['-c', typed, prefix, mode, source, target], { input: passphrase })
}

/** qubesd's own look at an answer: stripped, then refused with a newline inside. `null`: the backup fails. */
export function takenByQubesd(answer: string): string | null {
  const stripped = answer.trim()
  return stripped.includes('\n') ? null : stripped
}

/** The one line of the how-to, with files in the place of qrexec-client and qvm-backup-restore. */
export async function restoreLine(line: string, directory: string, answer: string) {
  const tools = `qrexec-client() { cat >"${path.join(directory, 'asked')}"; printf '%s' "$ANSWER"; }
qvm-backup-restore() { [ "$1" = --passphrase-file ] && head -n 1 "$2"; }
`
  return await runToEnd('bash', ['-c', `${tools}${line}`], { ANSWER: answer })
}
