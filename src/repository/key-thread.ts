import { Worker } from 'node:worker_threads'
import type { RepositoryKey } from '../crypto/aead.ts'

/** What a thread needs beside the bytes, which are not in its heap. */
const resourceLimits = { maxOldGenerationSizeMb: 256, maxYoungGenerationSizeMb: 8 }

/** What a thread is given when it starts. */
export interface ThreadData {
  /** Of the repository; the thread takes it over and zeroes it when it ends. */
  readonly key: Uint8Array
  /** 0, or how far it stands back behind others that want a core: 1 to 19. */
  readonly niceness: number
}

/** A thread with a copy of the key, moved into it so that none is left on this side. No environment, no arguments. */
export function startKeyThread(module: URL, key: RepositoryKey, niceness = 0): Worker {
  const copy = key.expose(bytes => Uint8Array.from(bytes))
  const workerData: ThreadData = { key: copy, niceness }
  return new Worker(module, { workerData, transferList: [copy.buffer], resourceLimits, env: {}, argv: [] })
}
