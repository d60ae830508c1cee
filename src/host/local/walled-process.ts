import { type ChildProcess, type StdioOptions, spawn } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import type { Readable, Writable } from 'node:stream'
import { errnoOf } from '../../base/errors.ts'
import { fields, is, parseJson } from '../../base/json.ts'
import { readAll } from '../../base/reader.ts'
import { HostError } from '../errors.ts'
import { type Product, type View, type Walls, walledCommand } from './bubblewrap.ts'

const infoFd = 3
const filterFd = 4
const infoBytesMax = 4096

export interface WalledOptions {
  readonly walls: Walls
  readonly product: Product
  readonly view: View
  /** Program and arguments inside. */
  readonly command: readonly string[]
  /** Put before everything else, e.g. to enter a control group. */
  readonly wrapper?: readonly string[]
  /** Of system calls, for all inside; ignored without bubblewrap. */
  readonly filter?: Uint8Array
  /** Standard input, output and error. */
  readonly stdio: readonly ['ignore' | 'pipe', number | 'pipe', number | 'pipe' | 'ignore']
}

export interface WalledProcess {
  /** The outermost process. For a gentle end signal `pid()`, not this. */
  readonly child: ChildProcess
  /** Kills all inside at once. */
  destroy(): void
  /** The program inside, by its number outside; `null` if it is not there (yet, or any more). */
  pid(): Promise<number | null>
  /** Exit status, 128 + the signal's number when killed. Never rejects. */
  readonly exited: Promise<number>
}

/** Starts `command` behind walls, with an empty environment. Throws `VM_START` when it cannot even be spawned. */
export async function spawnWalled(options: WalledOptions): Promise<WalledProcess> {
  const { walls, product, wrapper = [], filter, stdio, command } = options
  const view = walls.bubblewrap
    ? { ...options.view, infoFd, ...(filter === undefined ? {} : { filterFd }) }
    : options.view
  const [program = '', ...rest] = [...wrapper, ...walledCommand(walls, product, view, command)]
  const environment = { PATH: '/usr/bin:/bin', ...(walls.bubblewrap ? {} : view.environment) }
  const child = spawn(program, rest, {
    stdio: [...stdio, 'pipe', ...(filter === undefined ? [] : ['pipe'])] as StdioOptions,
    env: environment,
    cwd: '/',
    // Signals from a terminal are for the supervisor, which ends its VMs in order.
    detached: true,
  })
  const exited = new Promise<number>(resolve => {
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal === 'SIGKILL' ? 9 : 15)))
    child.once('error', () => resolve(127))
  })
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', cause =>
      reject(new HostError('VM_START', `${view.vm}: ${program} cannot be started`, { cause })),
    )
  })
  if (filter !== undefined) give(child.stdio[filterFd] as Writable, filter)
  const init = initPid(child, walls)
  const pid = async () => {
    const first = await init
    if (first === null || child.exitCode !== null || child.signalCode !== null) return null
    return walls.bubblewrap ? onlyChild(first) : first
  }
  return { child, destroy: () => destroy(child), pid, exited }
}

/** bwrap dies with its group, and all inside with bwrap; without bwrap the group is all there is. */
function destroy({ pid, exitCode, signalCode }: ChildProcess): void {
  if (pid === undefined || exitCode !== null || signalCode !== null) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    if (errnoOf(error) !== 'ESRCH') throw error
  }
}

/** bwrap reads it to its end before it starts the program; who was killed before needs none. */
function give(pipe: Writable, filter: Uint8Array): void {
  pipe.on('error', () => {})
  pipe.end(filter)
}

/** bwrap's own first process inside; without bwrap the program itself, which takes prlimit's place. */
async function initPid(child: ChildProcess, walls: Walls): Promise<number | null> {
  const info = child.stdio[infoFd] as Readable
  if (!walls.bubblewrap) {
    info.destroy()
    return child.pid ?? null
  }
  try {
    const answer = await readAll(info, infoBytesMax)
    return answer.parse(bytes => parseInfo(parseJson(bytes, { bytesMax: infoBytesMax })))['child-pid']
  } catch {
    return null
  }
}

const namespaceId = is.optional(is.integer())
const parseInfo = fields("bwrap's info", {
  'child-pid': is.integer(1),
  'cgroup-namespace': namespaceId,
  'ipc-namespace': namespaceId,
  'mnt-namespace': namespaceId,
  'net-namespace': namespaceId,
  'pid-namespace': namespaceId,
  'uts-namespace': namespaceId,
})

async function onlyChild(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/task/${pid}/children`, 'latin1').catch(() => '')
  const child = Number(text.trim().split(' ')[0])
  return Number.isSafeInteger(child) && child > 0 ? child : null
}
