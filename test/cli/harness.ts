import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import os from 'node:os'
import path from 'node:path'
import { systemClock } from '../../src/base/environment.ts'
import type { CliOutput } from '../../src/cli/io.ts'
import { runCli } from '../../src/cli/program.ts'
import { type Harness, startApi, token } from '../api/harness.ts'

const script = path.join(import.meta.dirname, 'run-cli.ts')

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunningCli {
  readonly child: ChildProcess
  /** What it has said so far. */
  readonly said: { stdout: string; stderr: string }
  readonly ended: Promise<Run>
}

export interface Stand extends AsyncDisposable {
  readonly api: Harness
  readonly directory: string
  readonly tcp: string
  readonly tokenFile: string
  /** Starts the command as a process, with this API's address and token in the environment. */
  start(argv: readonly string[], variables?: Readonly<Record<string, string>>): RunningCli
  /** The same in this process, for the many cases that need no other. */
  run(argv: readonly string[], variables?: Readonly<Record<string, string>>): Promise<Run>
}

/** A real API on the loopback interface, and a way to run commands against it. */
export async function startStand(overrides: Parameters<typeof startApi>[0] = {}): Promise<Stand> {
  const api = await startApi(overrides)
  const directory = await mkdtemp(path.join(os.tmpdir(), 'strongroom-cli-'))
  const tokenFile = path.join(directory, 'token')
  await writeFile(tokenFile, `${token}\n`, { mode: 0o600 })
  await api.app.listen({ host: '127.0.0.1', port: 0 })
  const tcp = `http://127.0.0.1:${(api.app.server.address() as AddressInfo).port}`
  const own = { STRONGROOM_API: tcp, STRONGROOM_TOKEN_FILE: tokenFile }
  return {
    api,
    directory,
    tcp,
    tokenFile,
    start: (argv, variables) => startCli(argv, { ...own, ...variables }),
    run: (argv, variables) => runHere(argv, { ...own, ...variables }),
    async [Symbol.asyncDispose]() {
      await api[Symbol.asyncDispose]()
      await rm(directory, { recursive: true })
    },
  }
}

/** `columns`: a terminal of that width. */
export async function runHere(
  argv: readonly string[],
  variables: Readonly<Record<string, string>> = {},
  columns?: number,
): Promise<Run> {
  const said = { stdout: '', stderr: '' }
  const output = (name: keyof typeof said): CliOutput => ({
    write: text => {
      said[name] += text
    },
    isTerminal: columns !== undefined,
    columns: columns ?? 80,
  })
  const io = { variables, clock: systemClock, onInterrupt: () => () => {} }
  const code = await runCli(argv, { ...io, stdout: output('stdout'), stderr: output('stderr') })
  return { code, ...said }
}

export function startCli(argv: readonly string[], variables: Readonly<Record<string, string>>): RunningCli {
  const child = spawn(process.execPath, [script, ...argv], {
    env: variables,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { stdout: '', stderr: '' }
  child.stdout.on('data', part => {
    said.stdout += part
  })
  child.stderr.on('data', part => {
    said.stderr += part
  })
  const ended = new Promise<Run>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', code => resolve({ code, ...said }))
  })
  return { child, said, ended }
}
