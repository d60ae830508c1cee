import { parentPort, workerData } from 'node:worker_threads'
import { release } from '../base/memory.ts'
import { RepositoryKey } from '../crypto/aead.ts'
import type { ThreadData } from './key-thread.ts'
import { doPackWork, type PackWork } from './pack-work.ts'

/*
 * A thread of `PackThreads`. It is given a copy of the repository's key when it starts, and zeroes it when it is told to
 * end. What is wrong with the bytes is not for it to say: it hands them back.
 */

export interface ThreadAnswer {
  /** `null`: something is wrong. */
  readonly plaintexts: Uint8Array | null
  readonly untrustedBytes: Uint8Array | null
}

const port = parentPort
if (port === null) throw new Error('not a thread')
using key = new RepositoryKey((workerData as ThreadData).key)

await new Promise<void>(ended => {
  port.on('message', (work: PackWork | null) => {
    if (work === null) ended()
    else answer(work)
  })
})
port.close()

function answer(work: PackWork): void {
  let plaintexts: Uint8Array
  try {
    plaintexts = doPackWork(key, work)
  } catch {
    const { untrustedBytes } = work
    post({ plaintexts: null, untrustedBytes }, untrustedBytes)
    return
  }
  release(work.untrustedBytes)
  post({ plaintexts, untrustedBytes: null }, plaintexts)
}

function post(message: ThreadAnswer, bytes: Uint8Array): void {
  port?.postMessage(message, [bytes.buffer as ArrayBuffer])
}
