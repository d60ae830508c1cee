import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

export type FileSystem = 'ext4' | 'xfs' | 'btrfs'

/** How to make each, small and quickly. */
const programs: Readonly<Record<FileSystem, readonly string[]>> = {
  ext4: ['mkfs.ext4', '-q', '-F'],
  xfs: ['mkfs.xfs', '-q', '-f', '-m', 'reflink=1'],
  btrfs: ['mkfs.btrfs', '-q', '-f'],
}
/** XFS wants no less. */
const imageBytes = 320 * 1024 * 1024

/** A new file system of that kind in a file, made and mounted when its directory is first asked for. */
export class LoopMount implements Disposable {
  readonly #kind: FileSystem
  readonly #options: readonly string[]
  #parent: string | null = null

  constructor(kind: FileSystem, ...options: readonly string[]) {
    this.#kind = kind
    this.#options = options
  }

  /** Tries it: mounting needs root, and a kernel that knows the file system. */
  static isPossible(kind: FileSystem): boolean {
    try {
      using mount = new LoopMount(kind)
      return mount.directory !== ''
    } catch {
      return false
    }
  }

  get directory(): string {
    this.#parent ??= this.#make()
    return path.join(this.#parent, 'mount')
  }

  #make(): string {
    // In memory: file systems are synced much here, and crashes of this machine are not what is tested.
    const parent = mkdtempSync(path.join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), `${this.#kind}-`))
    try {
      const image = path.join(parent, 'image')
      writeFileSync(image, '')
      truncateSync(image, imageBytes)
      mkdirSync(path.join(parent, 'mount'))
      run(...programs[this.#kind], ...this.#options, image)
      run('mount', '-o', 'loop', image, path.join(parent, 'mount'))
      return parent
    } catch (error) {
      rmSync(parent, { recursive: true })
      throw error
    }
  }

  [Symbol.dispose](): void {
    if (this.#parent === null) return
    run('umount', path.join(this.#parent, 'mount'))
    rmSync(this.#parent, { recursive: true })
    this.#parent = null
  }
}

function run(...command: readonly string[]): void {
  const [program = '', ...rest] = command
  const { status, stderr } = spawnSync(program, rest, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${program}: ${stderr}`)
}
