import { spawn } from 'node:child_process'

/** What is typed once `after` has appeared, behind what was waited for before. `\r` is Enter, `\x03` is ^C. */
export interface Typed {
  readonly after: RegExp
  readonly type: string
}

export interface TerminalSession {
  readonly code: number | null
  /** What the terminal showed, control sequences and all. */
  readonly shown: string
}

/** No program here is silent for so long, however busy the machine is; one that waits for ever is ended. */
const timeout = 120_000

/** Runs a program as a person does, on a terminal whose other end is util-linux’s `script`. No word may hold a quote. */
export async function atTerminal(
  command: readonly string[],
  typed: readonly Typed[],
): Promise<TerminalSession> {
  const line = command.map(word => `'${word}'`).join(' ')
  const child = spawn('script', ['-qec', line, '/dev/null'], { stdio: ['pipe', 'pipe', 'inherit'], timeout })
  let shown = ''
  let seen = 0
  const left = [...typed]
  child.stdout.setEncoding('utf8').on('data', part => {
    shown += part
    for (let [next] = left; next !== undefined; [next] = left) {
      const found = next.after.exec(shown.slice(seen))
      if (found === null) break
      seen += found.index + found[0].length
      child.stdin.write(next.type)
      left.shift()
    }
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve({ code, shown }))
  })
}
