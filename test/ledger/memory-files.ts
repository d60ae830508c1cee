import path from 'node:path'
import { Untrusted } from '../../src/base/untrusted.ts'
import type { LedgerFiles } from '../../src/ledger/files.ts'

type Names = Map<string, Uint8Array>

/**
 * A file system that forgets: a name is durable only once its directory was synced. `crash` keeps of the other names
 * those that `keeps` picks. Fails the N-th operation, or every one from the N-th on.
 */
export class MemoryFiles implements LedgerFiles {
  #visible: Names
  #durable: Names
  #directories = new Set<string>(['.'])
  #failAt = Number.POSITIVE_INFINITY
  #dead = false
  operations = 0

  constructor(names: ReadonlyMap<string, Uint8Array> = new Map()) {
    this.#visible = new Map(names)
    this.#durable = new Map(names)
    for (const name of names.keys())
      for (let at = path.posix.dirname(name); at !== '.'; at = path.posix.dirname(at))
        this.#directories.add(at)
  }

  /** `dead`: the process stops there, so that nothing after it happens either. */
  failAt(operation: number, dead: boolean): void {
    this.operations = 0
    this.#failAt = operation
    this.#dead = dead
  }

  get names(): ReadonlyMap<string, Uint8Array> {
    return this.#visible
  }

  /** What a new process finds. */
  crash(keeps: (name: string) => boolean): MemoryFiles {
    const left = new Map(this.#durable)
    for (const name of new Set([...this.#visible.keys(), ...this.#durable.keys()])) {
      if (!keeps(name)) continue
      const bytes = this.#visible.get(name)
      if (bytes === undefined) left.delete(name)
      else left.set(name, bytes)
    }
    return new MemoryFiles(left)
  }

  async read(name: string): Promise<Untrusted<Uint8Array> | null> {
    this.#count(name)
    const bytes = this.#visible.get(name)
    return bytes === undefined ? null : new Untrusted(bytes)
  }

  async write(name: string, bytes: Uint8Array): Promise<void> {
    this.#requireDirectory(name)
    // A write that fails has written some of it.
    this.#visible.set(name, bytes.slice(0, bytes.byteLength / 2))
    this.#count(name)
    this.#visible.set(name, bytes.slice())
  }

  async rename(from: string, to: string): Promise<void> {
    this.#count(from)
    const bytes = this.#visible.get(from)
    if (bytes === undefined) throw systemError('ENOENT')
    this.#visible.delete(from)
    this.#visible.set(to, bytes)
  }

  async makeDirectory(name: string): Promise<void> {
    this.#count(name)
    this.#directories.add(name)
  }

  async syncDirectory(name: string): Promise<void> {
    this.#count(name)
    for (const one of new Set([...this.#visible.keys(), ...this.#durable.keys()])) {
      if (path.posix.dirname(one) !== name) continue
      const bytes = this.#visible.get(one)
      if (bytes === undefined) this.#durable.delete(one)
      else this.#durable.set(one, bytes)
    }
  }

  async list(name: string): Promise<readonly string[]> {
    this.#count(name)
    const inside = [...this.#visible.keys()].filter(one => name === '.' || one.startsWith(`${name}/`))
    return [
      ...new Set(inside.map(one => (name === '.' ? one : one.slice(name.length + 1)).split('/')[0] ?? '')),
    ]
  }

  async remove(name: string): Promise<void> {
    this.#count(name)
    for (const one of [...this.#visible.keys()])
      if (one === name || one.startsWith(`${name}/`)) this.#visible.delete(one)
  }

  #requireDirectory(name: string): void {
    if (!this.#directories.has(path.posix.dirname(name))) throw systemError('ENOENT')
  }

  #count(name: string): void {
    this.operations += 1
    if (this.operations === this.#failAt || (this.#dead && this.operations > this.#failAt))
      throw systemError(name.endsWith('.new') ? 'ENOSPC' : 'EIO')
  }
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code })
}
