import type { Milliseconds } from '../base/brand.ts'
import type { Clock } from '../base/environment.ts'
import type { Log } from '../base/log.ts'
import { Sha256 } from '../crypto/digest.ts'
import { StorageError } from './errors.ts'
import { idOf } from './layout.ts'
import { type ObjectHead, type ObjectName, type ObjectStore, objectKinds } from './object-store.ts'
import { Pace } from './pace.ts'
import { findingsMax, type ScrubFinding, type ScrubProgress, type ScrubReport } from './scrub-lines.ts'
import type { ScrubMemory, ScrubState } from './scrub-memory.ts'

/*
 * Whether every object still is what its name says, by whoever has the disk: a name is the SHA-256 of the content, so it
 * takes neither a key nor any knowledge of the format. Reads only: nothing is removed, renamed or repaired.
 */

const pieceBytes = 1024 * 1024
const saveMilliseconds: Milliseconds = 5_000

export interface ScrubPorts {
  readonly clock: Clock
  readonly log: Log
  readonly memory: ScrubMemory
  /** `null`: as fast as it goes. */
  readonly bytesPerSecondMax: number | null
  readonly onProgress: (progress: ScrubProgress) => void
}

/**
 * Hashes every object but `config`, whose name is no hash. Continues where a scrub was stopped before its end, and looks
 * once more at what that one had found. Throws the signal's reason, and what says nothing about an object.
 */
export async function scrub(
  store: ObjectStore,
  ports: ScrubPorts,
  signal: AbortSignal,
): Promise<ScrubReport> {
  const { memory, log } = ports
  const run = new Run((await memory.load()) ?? nothingDone, ports)
  try {
    await run.through(store, await objectsOf(store, ports, signal), signal)
  } catch (error) {
    await run.save()
    throw error
  }
  await memory.clear().catch(error => log.warn('the position of the scrub could not be forgotten', { error }))
  return run.report
}

const nothingDone: ScrubState = { after: null, objects: 0, bytes: 0, damaged: 0, findings: [] }

/** By name, so that a position means the same the next time. */
async function objectsOf(
  store: ObjectStore,
  { onProgress }: ScrubPorts,
  signal: AbortSignal,
): Promise<readonly ObjectHead[]> {
  const heads: ObjectHead[] = []
  for (const kind of objectKinds)
    if (kind !== 'config')
      for await (const head of store.list(kind, signal)) {
        heads.push(head)
        // Nobody shall think that nothing happens.
        onProgress({ objectsDone: 0, objectsTotal: 0, bytesDone: 0, bytesTotal: 0 })
      }
  return heads.sort((a, b) => (a.name < b.name ? -1 : 1))
}

class Run {
  readonly #ports: ScrubPorts
  readonly #pace: Pace
  #state: ScrubState
  #saved: Milliseconds
  #saving = true

  constructor(before: ScrubState, ports: ScrubPorts) {
    this.#ports = ports
    this.#pace = new Pace(ports.clock, ports.bytesPerSecondMax)
    // What it found and could not name would be forgotten: then everything is looked at again.
    this.#state = before.damaged > before.findings.length ? nothingDone : before
    this.#saved = ports.clock.monotonic()
  }

  get report(): ScrubReport {
    const { objects, bytes, damaged, findings } = this.#state
    return { objects, bytes, damaged, findings }
  }

  async through(store: ObjectStore, heads: readonly ObjectHead[], signal: AbortSignal): Promise<void> {
    const { after, objects, bytes } = this.#state
    const fresh = heads.filter(({ name }) => after === null || name > after)
    const objectsTotal = objects + fresh.length
    const bytesTotal = bytes + fresh.reduce((sum, head) => sum + head.bytes, 0)
    const tell = (bytesOfObject: number) => {
      const bytesDone = this.#state.bytes + bytesOfObject
      this.#ports.onProgress({ objectsDone: this.#state.objects, objectsTotal, bytesDone, bytesTotal })
    }
    for (const { name } of this.#state.findings) {
      const { fault } = await this.#look(store, name, () => tell(0), signal)
      if (fault === null) this.#forget(name)
    }
    for (const { name } of fresh) {
      const { fault, bytes: found } = await this.#look(store, name, tell, signal)
      const { objects: before, bytes: bytesBefore } = this.#state
      this.#state = { ...this.#state, after: name, objects: before + 1, bytes: bytesBefore + found }
      this.#note(name, fault)
      tell(0)
      if (this.#ports.clock.monotonic() - this.#saved >= saveMilliseconds) await this.save()
    }
  }

  /** A disk that takes no writes any more is one to be read to its end. */
  async save(): Promise<void> {
    if (!this.#saving) return
    this.#saved = this.#ports.clock.monotonic()
    try {
      await this.#ports.memory.save(this.#state)
    } catch (error) {
      this.#saving = false
      this.#ports.log.warn('the position of the scrub cannot be kept; it will begin anew', { error })
    }
  }

  #note(name: ObjectName, fault: ScrubFinding['fault'] | null): void {
    if (fault === null) return
    const { damaged, findings } = this.#state
    const named = findings.length < findingsMax ? [...findings, { name, fault }] : findings
    this.#state = { ...this.#state, damaged: damaged + 1, findings: named }
  }

  #forget(name: ObjectName): void {
    const findings = this.#state.findings.filter(finding => finding.name !== name)
    this.#state = { ...this.#state, damaged: findings.length, findings }
  }

  async #look(
    store: ObjectStore,
    name: ObjectName,
    onBytes: (bytes: number) => void,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: number; readonly fault: ScrubFinding['fault'] | null }> {
    let bytes = 0
    try {
      const head = await store.head(name, signal)
      if (head === null) return { bytes, fault: null }
      const digest = new Sha256()
      while (bytes < head.bytes) {
        const length = Math.min(pieceBytes, head.bytes - bytes)
        await this.#pace.take(length, signal)
        const piece = await store.get(name, { offset: bytes, length }, signal)
        piece.parse(untrustedBytes => digest.update(untrustedBytes))
        bytes += length
        onBytes(bytes)
      }
      return { bytes, fault: digest.finish() === idOf(name) ? null : 'content' }
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof StorageError) || error.retry) throw error
      // Removed since it was listed, which is not for a scrub to judge.
      if (error.code === 'STORAGE_MISSING') return { bytes, fault: null }
      if (error.code === 'STORAGE_RANGE') return { bytes, fault: 'content' }
      if (error.code === 'STORAGE_IO') return { bytes, fault: 'unreadable' }
      throw error
    }
  }
}
