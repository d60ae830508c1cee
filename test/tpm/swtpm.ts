import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import { withLoaded } from '../../src/tpm/device/command.ts'
import { createAttestationKey, createEndorsementKey, type LoadedKey } from '../../src/tpm/device/keys.ts'
import { startTpm } from '../../src/tpm/device/startup.ts'
import { openTpm, type Tpm } from '../../src/tpm/device/tpm.ts'
import { TpmError } from '../../src/tpm/errors.ts'

/* A real software TPM: one process and one directory of its own, both gone afterwards. */

const run = promisify(execFile)
const toolMilliseconds = 20_000

export const signal = new AbortController().signal

export interface SoftwareTpm extends AsyncDisposable {
  readonly directory: string
  readonly socket: string
  readonly tpm: Tpm
  /** Runs a program of tpm2-tools against it, in its directory. Gives its output; a failure throws it. */
  tool(name: string, ...words: readonly string[]): Promise<string>
  read(file: string): Promise<Buffer>
  write(file: string, bytes: Uint8Array): Promise<void>
  /** Ends the process at once, as power that fails does. */
  kill(): Promise<void>
  /** Starts it with the same state, as after switching off. */
  start(): Promise<void>
}

export interface Options {
  /** In place of one that is made here. */
  readonly directory?: string
  readonly prepare?: (state: string) => void
  readonly commandMilliseconds?: number
}

export async function softwareTpm({
  directory = mkdtempSync(path.join(tmpdir(), 'swtpm-')),
  prepare,
  commandMilliseconds,
}: Options = {}): Promise<SoftwareTpm> {
  // swtpm goes into failure mode when this is not absolute.
  const state = path.join(directory, 'state')
  mkdirSync(state, { recursive: true })
  prepare?.(state)
  // tpm2-tools find the control socket by this name.
  const socket = path.join(directory, 'tpm')
  const tpm = openTpm(socket, commandMilliseconds)
  let stop = async () => {}
  const start = async () => {
    const words = ['socket', '--tpm2', '--tpmstate', `dir=${state}`, '--server', `type=unixio,path=${socket}`]
    const control = ['--ctrl', `type=unixio,path=${socket}.ctrl`, '--flags', 'not-need-init,startup-clear']
    const child = spawn('swtpm', [...words, ...control], { stdio: 'ignore' })
    const ended = once(child, 'exit')
    await once(child, 'spawn')
    stop = async () => {
      child.kill('SIGKILL')
      await ended
      for (const file of [socket, `${socket}.ctrl`]) rmSync(file, { force: true })
    }
    // A socket is there before anyone listens to it.
    while (!(await isAnswering(tpm))) {
      if (child.exitCode !== null) throw new Error(`swtpm ended with ${child.exitCode}`)
      await delay(5)
    }
  }
  await start()
  return {
    directory,
    socket,
    tpm,
    tool: async (name, ...words) => {
      // It serves one connection at a time.
      await tpm.close()
      const env = { ...process.env, TPM2TOOLS_TCTI: `swtpm:path=${socket}`, TSS2_LOG: 'all+NONE' }
      const { stdout } = await run(name, words, { cwd: directory, env, timeout: toolMilliseconds })
      return stdout
    },
    read: file => readFile(path.join(directory, file)),
    write: (file, bytes) => writeFile(path.join(directory, file), bytes),
    kill: () => stop(),
    start: async () => {
      await tpm.close()
      await start()
    },
    [Symbol.asyncDispose]: async () => {
      await tpm.close()
      await stop()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function isAnswering(tpm: Tpm): Promise<boolean> {
  try {
    await startTpm(tpm, signal)
    return true
  } catch (error) {
    if (error instanceof TpmError && error.code === 'TPM_UNREACHABLE') return false
    throw error
  }
}

export async function withAttestationKey<T>(tpm: Tpm, use: (key: LoadedKey) => Promise<T>): Promise<T> {
  return withLoaded(tpm, await createAttestationKey(tpm, null, signal), use)
}

export async function withEndorsementKey<T>(
  tpm: Tpm,
  kind: 'p256' | 'rsa',
  use: (key: LoadedKey) => Promise<T>,
): Promise<T> {
  return withLoaded(tpm, await createEndorsementKey(tpm, kind, null, signal), use)
}

/** By tpm2-tools, below the endorsement key in `ek.ctx`: `ak.ctx`, `ak.pub` (TPM2B_PUBLIC) and `ak.name`. */
export async function attestationKeyByTool(swtpm: SoftwareTpm): Promise<void> {
  const kind = ['-G', 'ecc', '-g', 'sha256', '-s', 'ecdsa']
  const into = ['-c', 'ak.ctx', '-u', 'ak.pub', '-f', 'tss', '-n', 'ak.name']
  await swtpm.tool('tpm2_createak', '-C', 'ek.ctx', ...kind, ...into)
  await swtpm.tool('tpm2_flushcontext', '-t')
}
