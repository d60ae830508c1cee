import { spawn } from 'node:child_process'
import { access, constants } from 'node:fs/promises'
import type { Readable } from 'node:stream'
import { KiB, MiB } from '../../base/bytes.ts'

/*
 * The one file of this process that starts programs. They read what is hostile: each has limits of its own on memory, processor
 * time, files and output, and ends with its whole group.
 */

const outputBytesMax = 64 * MiB
/** Of the beginning of what a program says. */
const heardBytes = 64 * KiB
/** The rest of a sandbox's memory is this process's own, and files in /tmp. */
const memoryShare = 0.75

export interface ToolLimits {
  readonly memoryBytesMax: number
  /** When the time of the whole examination is over. */
  readonly stop: AbortSignal
  /** Until then. */
  readonly millisecondsLeft: () => number
}

export interface Tool {
  /** Absolute. */
  readonly program: string
  readonly arguments: readonly string[]
  /** Whether it may write files, to /tmp, which is bounded. */
  readonly writes?: boolean
  readonly environment?: Readonly<Record<string, string>>
  /** Takes standard output, which is then neither bounded nor kept; `false` ends the program. */
  readonly take?: (part: Buffer) => boolean
}

export type ToolEnd =
  | { readonly kind: 'ended'; readonly status: number; readonly output: string; readonly complaint: string }
  | { readonly kind: 'missing' | 'killed' | 'late' | 'flooded' }

/** Runs it to its end. Never rejects for what it does. */
export async function runTool(tool: Tool, limits: ToolLimits): Promise<ToolEnd> {
  if (!(await isThere(tool.program))) return { kind: 'missing' }
  if (limits.stop.aborted) return { kind: 'late' }
  const seconds = Math.max(1, Math.ceil(limits.millisecondsLeft() / 1000))
  const child = spawn(
    '/usr/bin/prlimit',
    [
      ...[
        `--data=${Math.floor(limits.memoryBytesMax * memoryShare)}`,
        `--cpu=${seconds}`,
        '--core=0',
        '--nofile=256',
      ],
      ...(tool.writes ? [] : ['--fsize=0']),
      ...['--', tool.program, ...tool.arguments],
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
        LC_ALL: 'C',
        TZ: 'UTC',
        HOME: '/tmp',
        ...tool.environment,
      },
      cwd: '/',
      detached: true,
    },
  )
  const { stdout, stderr } = child as unknown as { readonly stdout: Readable; readonly stderr: Readable }
  let isFlooding = false
  const kill = () => killGroup(child.pid)
  const flood = () => {
    isFlooding = true
    kill()
  }
  const output = tool.take === undefined ? beginningOf(stdout, flood) : taking(stdout, tool.take, flood)
  const complaint = beginningOf(stderr, flood)
  const giveUp = () => {
    kill()
    // Who left the group may hold them open.
    stdout.destroy()
    stderr.destroy()
  }
  limits.stop.addEventListener('abort', giveUp)
  // A program that it started, and that outlived it, holds its output open.
  child.once('exit', kill)
  const [status, signal] = await new Promise<[number | null, string | null]>(resolve => {
    child.once('close', (code, by) => resolve([code, by]))
    child.once('error', () => resolve([null, 'none']))
  })
  limits.stop.removeEventListener('abort', giveUp)
  if (isFlooding) return { kind: 'flooded' }
  if (limits.stop.aborted) return { kind: 'late' }
  if (signal !== null || status === null) return { kind: 'killed' }
  return { kind: 'ended', status, output: output(), complaint: complaint() }
}

async function isThere(program: string): Promise<boolean> {
  return access(program, constants.X_OK).then(
    () => true,
    () => false,
  )
}

function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch {
    // All of it has gone.
  }
}

function beginningOf(stream: Readable, flood: () => void): () => string {
  let text = ''
  let bytes = 0
  stream.on('data', (part: Buffer) => {
    if (text.length < heardBytes) text += part.toString('latin1', 0, heardBytes - text.length)
    bytes += part.byteLength
    if (bytes > outputBytesMax) flood()
  })
  stream.on('error', () => {})
  return () => text
}

function taking(stream: Readable, take: (part: Buffer) => boolean, flood: () => void): () => string {
  stream.on('data', (part: Buffer) => {
    if (!take(part)) flood()
  })
  stream.on('error', () => {})
  return () => ''
}
