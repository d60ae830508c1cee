import { execFile, execFileSync } from 'node:child_process'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import type { MemoryStore } from '../support/memory-store.ts'
import { discard, scratch } from '../support/scratch.ts'
import { passphraseText } from './fixtures.ts'

const run = promisify(execFile)

/** Every restic of this machine: Debian's, and newer ones that are in the search path too. */
export const resticPrograms: readonly string[] = [
  ...new Set(execFileSync('which', ['-a', 'restic'], { encoding: 'utf8' }).trim().split('\n').map(real)),
]

function real(file: string): string {
  return execFileSync('realpath', [file], { encoding: 'utf8' }).trim()
}

/** Stock restic, with a directory for what it needs. */
export class StockRestic implements AsyncDisposable {
  readonly directory: string
  readonly #program: string

  private constructor(directory: string, program: string) {
    this.directory = directory
    this.#program = program
  }

  static async make(program = 'restic', passphrase = passphraseText): Promise<StockRestic> {
    const directory = scratch('restic')
    await writeFile(path.join(directory, 'passphrase'), passphrase, { mode: 0o600 })
    return new StockRestic(directory, program)
  }

  get program(): string {
    return this.#program
  }

  get environment(): Readonly<Record<string, string | undefined>> {
    const file = path.join(this.directory, 'passphrase')
    return { PATH: process.env.PATH, RESTIC_PASSWORD_FILE: file, RESTIC_FROM_PASSWORD_FILE: file }
  }

  /** What it writes to standard output; rejects when it fails. */
  async run(repository: string, ...command: readonly string[]): Promise<string> {
    const args = ['--repo', repository, '--no-cache', ...command]
    return (await run(this.#program, args, { env: this.environment })).stdout
  }

  /** The objects as its local backend lays them out; the path of the repository. */
  async layOut(store: MemoryStore, name: string): Promise<string> {
    const root = path.join(this.directory, name)
    await rm(root, { recursive: true, force: true })
    for (const kind of ['data', 'index', 'keys', 'locks', 'snapshots'])
      await mkdir(path.join(root, kind), { recursive: true })
    for (const [object, body] of store.objects) {
      const [kind, id] = object.split('/')
      const file =
        kind === 'data' ? path.join(root, 'data', `${id}`.slice(0, 2), `${id}`) : path.join(root, object)
      await mkdir(path.dirname(file), { recursive: true })
      await writeFile(file, body)
    }
    return root
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await discard(this.directory)
  }
}
