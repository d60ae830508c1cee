import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import type { TokenProcessOptions } from '../../../src/hsm/token-process.ts'
import type { KeptKey, Unwrapping } from '../../../src/hsm/token-protocol.ts'

/* PKCS#11 modules that are really there, each with a token of its own in a temporary directory. */

/** What is expected of one; the contract is the same for all. */
export interface ModuleKind {
  readonly name: string
  readonly opens: Unwrapping
  readonly isWitness: boolean
  readonly seals: 'ed25519' | 'ecdsa-p256' | null
  readonly counts: boolean
  readonly export: KeptKey['export']
  /** What is answered once other wrong PINs were tried. `null`: it never locks. */
  readonly locks: 'HSM_PIN_LAST_TRY' | 'HSM_PIN_LOCKED' | null
  /** Whether it can run here: some need root. */
  isPossible(): boolean
  start(): Promise<RunningModule>
}

export interface RunningModule extends AsyncDisposable {
  readonly options: Pick<TokenProcessOptions, 'modulePath' | 'moduleParameters' | 'environment' | 'label'>
  readonly pin: string
  /** `null`: its own tool has made the token. */
  readonly officerPin: string | null
  /** Takes the token away and puts it back, where that can be done. */
  readonly removable: { takeAway(): Promise<void>; putBack(): Promise<void> } | null
  /** Gives the slot of the token another number, where that can be done. */
  readonly renumber: (() => Promise<void>) | null
}

/** Where Debian has the libraries of this machine. */
export const libraries = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`

export function temporary(): { readonly directory: string; remove(): void } {
  const directory = mkdtempSync(path.join(tmpdir(), 'strongroom-module-'))
  return { directory, remove: () => rmSync(directory, { recursive: true, force: true }) }
}

export function canRun(program: string, ...words: readonly string[]): boolean {
  try {
    execFileSync(program, words, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** A daemon that ends with its test. */
export class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>

  constructor(program: string, words: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    this.#child = spawn(program, words, {
      stdio: 'ignore',
      env: { ...process.env, ...environment },
    })
    this.#ended = once(this.#child, 'exit')
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  /** Until `isReady`; throws when the daemon ends before. */
  async ready(isReady: () => boolean): Promise<void> {
    while (!isReady()) {
      if (this.#child.exitCode !== null)
        throw new Error(`${this.#child.spawnfile} ended with ${this.#child.exitCode}`)
      await delay(20)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#ended
  }
}
