import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { systemEntropy } from '../base/environment.ts'
import { RepositoryKey } from '../crypto/aead.ts'
import { HostError } from '../host/errors.ts'
import { BackupHand } from './backup-work.ts'
import type { FinishedPack } from './blob-packer.ts'
import type { ThreadData } from './key-thread.ts'
import { pooled } from './nonces.ts'
import { isAskedBack } from './thread-budget.ts'
import type { VolumeWork } from './volume-work.ts'

/* A thread of `BackupThreads`. */

export type ToThread =
  | { readonly kind: 'volume'; readonly work: VolumeWork; readonly asked: SharedArrayBuffer }
  /** `null`: the thread makes a buffer for a pack by itself. */
  | { readonly kind: 'body'; readonly body: Uint8Array<ArrayBuffer> | null }
  /** After `turn-over`. */
  | { readonly kind: 'go-on' }
  /** After `turn-over`: the pack that is open goes. */
  | { readonly kind: 'hand-over' }
  | { readonly kind: 'flush' }
  | { readonly kind: 'end' }

export type FromThread =
  /** It waits for a body, and needs no turn until then. */
  | { readonly kind: 'want-body' }
  /** It waits for its next turn, between two segments. */
  | { readonly kind: 'turn-over' }
  /** Some segments more are done. */
  | { readonly kind: 'progress' }
  | { readonly kind: 'pack'; readonly pack: MovedPack }
  | { readonly kind: 'done' }
  /** The volume could not be read. What is a defect of the product ends the thread. */
  | { readonly kind: 'unreadable'; readonly message: string }

/** A pack as it crosses between threads. */
export interface MovedPack {
  readonly id: FinishedPack['id']
  readonly bytes: number
  /** Of the whole buffer; the pack is its beginning. */
  readonly body: Uint8Array<ArrayBuffer>
  readonly records: Uint8Array<ArrayBuffer>
}

const port = parentPort
if (port === null) throw new Error('not a thread')
const data = workerData as ThreadData
using key = new RepositoryKey(data.key)
// Of this thread alone: Linux keeps a niceness for each.
if (data.niceness > 0) setPriority(data.niceness)

/** Segments from one word of progress to the next, and of a turn that others wait for. */
const segmentsPerProgress = 16
const segmentsPerTurn = 16

let segments = 0
let segmentsOfTurn = 0
let asked = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
let resting: (() => void) | null = null
let wanting: ((body: Uint8Array | undefined) => void) | null = null

const hand = new BackupHand(key, pooled(systemEntropy), {
  progress() {
    segments += 1
    if (segments % segmentsPerProgress === 0) post({ kind: 'progress' })
    segmentsOfTurn += 1
    if (segmentsOfTurn < segmentsPerTurn || !isAskedBack(asked)) return
    post({ kind: 'turn-over' })
    return new Promise<void>(resolve => {
      resting = resolve
    })
  },
  body() {
    post({ kind: 'want-body' })
    return new Promise(resolve => {
      wanting = resolve
    })
  },
  put({ id, bytes, body, records }) {
    const whole = new Uint8Array(body.buffer as ArrayBuffer)
    post({ kind: 'pack', pack: { id, bytes, body: whole, records } }, [whole.buffer, records.buffer])
  },
})

await new Promise<void>(ended => {
  port.on('message', (message: ToThread) => {
    switch (message.kind) {
      case 'volume':
        asked = new Int32Array(message.asked)
        segmentsOfTurn = 0
        void work(message.work)
        return
      case 'go-on':
        segmentsOfTurn = 0
        resting?.()
        resting = null
        return
      case 'hand-over':
        hand.flush()
        return
      case 'body':
        segmentsOfTurn = 0
        wanting?.(message.body ?? undefined)
        wanting = null
        return
      case 'flush':
        hand.flush()
        post({ kind: 'done' })
        return
      case 'end':
        ended()
    }
  })
})
port.close()

async function work(volume: VolumeWork): Promise<void> {
  try {
    await hand.work(volume)
    post({ kind: 'done' })
  } catch (error) {
    if (!(error instanceof HostError)) throw error
    post({ kind: 'unreadable', message: error.message })
  }
}

function post(message: FromThread, transfer: readonly ArrayBuffer[] = []): void {
  port?.postMessage(message, transfer)
}
