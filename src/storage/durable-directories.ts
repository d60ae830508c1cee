import { dirname } from 'node:path'
import { errnoOf } from '../base/errors.ts'
import type { FileSystem } from './file-system.ts'

/**
 * Makes directories so that they are still there after a power cut: the name of a directory is kept by its parent, which
 * must be synced too. One that exists is not taken on trust, since its maker may have died, or may not have come as
 * far yet; so the first use of each in this process syncs the parent once.
 */
export class DurableDirectories {
  readonly #root: string
  readonly #files: FileSystem
  readonly #made = new Map<string, Promise<void>>()

  constructor(root: string, files: FileSystem) {
    this.#root = root
    this.#files = files
  }

  /** `relative` is '' for the root itself, whose missing parents are made as well. */
  ensure(relative: string): Promise<void> {
    return this.#ensure(this.#path(relative))
  }

  /** After a directory turned out to have been removed by someone. */
  forget(): void {
    this.#made.clear()
  }

  async sync(relative: string): Promise<void> {
    await this.#sync(this.#path(relative))
  }

  #ensure(path: string): Promise<void> {
    const known = this.#made.get(path)
    if (known !== undefined) return known
    const made = this.#make(path)
    this.#made.set(path, made)
    made.catch(() => this.#made.delete(path))
    return made
  }

  async #make(path: string): Promise<void> {
    const parent = dirname(path)
    const inside = path.length > this.#root.length
    if (inside) await this.#ensure(parent)
    try {
      await this.#files.mkdir(path, 0o700)
    } catch (error) {
      if (errnoOf(error) === 'ENOENT' && !inside && parent !== path) {
        await this.#ensure(parent)
        return this.#make(path)
      }
      if (errnoOf(error) !== 'EEXIST') throw error
    }
    await this.#sync(parent)
  }

  async #sync(path: string): Promise<void> {
    await using handle = await this.#files.open(path, 'r')
    await handle.sync()
  }

  #path(relative: string): string {
    return relative === '' ? this.#root : `${this.#root}/${relative}`
  }
}
