import { spawn } from 'node:child_process'

/** What is typed once `after` has appeared, behind what was waited for before. */
export interface Typed {
  readonly after: string
  readonly type: string
}

export interface TerminalSession {
  readonly code: number | null
  /** What the terminal showed, control sequences and all. */
  readonly shown: string
  /** Standard output, where it is no terminal. */
  readonly stdout: string
}

const script = `
import json, os, pty, select, subprocess, sys
task = json.load(sys.stdin)
master, slave = pty.openpty()
output = slave if task['stdoutToo'] else subprocess.PIPE
child = subprocess.Popen(task['command'], stdin=slave, stdout=output, stderr=slave, close_fds=True)
os.close(slave)
shown, seen = b'', 0
def read():
    global shown
    if not select.select([master], [], [], 30)[0]:
        child.kill()
    try: part = os.read(master, 65536)
    except OSError: part = b''
    shown += part
    return part != b''
for step in task['typed']:
    while True:
        at = shown.find(step['after'].encode(), seen)
        if at >= 0: break
        if not read(): break
    seen = at + len(step['after'].encode())
    os.write(master, step['type'].encode())
while read(): pass
stdout = b'' if task['stdoutToo'] else child.stdout.read()
json.dump({'code': child.wait(), 'shown': shown.decode(), 'stdout': stdout.decode()}, sys.stdout)
`

/** Runs a program as a person at a terminal does; one that says nothing for half a minute is killed. `\r` is Enter, `\x03` is ^C. */
export async function atTerminal(
  command: readonly string[],
  typed: readonly Typed[],
  { stdoutToo = false }: { readonly stdoutToo?: boolean } = {},
): Promise<TerminalSession> {
  const child = spawn('python3', ['-c', script], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(JSON.stringify({ command, typed, stdoutToo }))
  const parts: Buffer[] = []
  for await (const part of child.stdout as AsyncIterable<Buffer>) parts.push(part)
  return JSON.parse(Buffer.concat(parts).toString('utf8')) as TerminalSession
}
