import type { FileHandle } from 'node:fs/promises'
import path from 'node:path'
import { equalConstantTime } from '../base/bytes.ts'
import { CodedError } from '../base/errors.ts'
import { makePrivateDirectory, readBounded, syncDirectory, writeDurably } from '../base/files.ts'
import { dom0 } from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import { encodeWitnessState, parseWitnessState, type WitnessState } from '../ledger/witness.ts'
import { type Decision, DecisionLog, readDecisions } from './decisions.ts'
import { EnvelopeStore } from './envelope-store.ts'
import { HsmError } from './errors.ts'
import { lockStore } from './store-lock.ts'

/*
 * What the service of the HSM VM writes in its directory, beside the envelopes: `witness.json` and `releases.jsonl`. It
 * is the only one to open them, and holds a lock while it does.
 */

const witnessBytesMax = 1024
const recordFile = 'releases.jsonl'

type Denied = Pick<Decision, 'time' | 'call' | 'profile' | 'job' | 'purpose' | 'epoch'>

export class HsmStore implements AsyncDisposable {
  readonly #directory: string
  readonly #lock: FileHandle
  readonly decisions: DecisionLog
  readonly envelopes: EnvelopeStore
  #witness: WitnessState | null
  readonly #commits = new Serially()

  private constructor(
    directory: string,
    lock: FileHandle,
    decisions: DecisionLog,
    witness: WitnessState | null,
  ) {
    this.#directory = directory
    this.#lock = lock
    this.decisions = decisions
    this.envelopes = new EnvelopeStore(directory)
    this.#witness = witness
  }

  /**
   * Throws `HSM_STORE_BUSY` when another process has it open, `HSM_STORE_DAMAGED`, also when the witness's memory is older
   * than what was released.
   */
  static async open(directory: string): Promise<HsmStore> {
    await using undo = new AsyncDisposableStack()
    await makePrivateDirectory(directory)
    const lock = await lockStore(directory)
    undo.defer(() => lock.close())
    const decisions = undo.use(await DecisionLog.open(path.join(directory, recordFile)))
    await syncDirectory(directory)
    const witness = newest(await readWitness(directory), decisions.witness)
    const size = witness?.size ?? 0
    if (size <= decisions.indexMax)
      throw new HsmError(
        'HSM_STORE_DAMAGED',
        `the witness remembers ${size} entries, but entry ${decisions.indexMax} was answered`,
      )
    const store = new HsmStore(directory, lock, decisions, witness)
    await written(() => store.envelopes.finishDestroying())
    undo.move()
    return store
  }

  /** The newest checkpoint that was cosigned. */
  get witness(): WitnessState | null {
    return this.#witness
  }

  /**
   * Records what was decided, and with a release the checkpoint that is cosigned for it, at once. Durable when it resolves. `from`:
   * as for `saveWitness`.
   */
  async record(decision: Decision, from = this.#witness): Promise<void> {
    const { witness } = decision
    if (witness === undefined) await this.decisions.append(decision)
    else await this.#commit(witness, from, () => this.decisions.append(decision))
  }

  /** A person's no, which is final for the job. Durable when it resolves. Throws `HSM_STORE_WRITE`. */
  recordDenied(denied: Denied): Promise<void> {
    return this.record({
      ...denied,
      outcome: 'refused',
      caller: dom0,
      index: null,
      nonce: null,
      code: 'HSM_REFUSED_DENIED',
      reason: 'a person said no',
      witness: undefined,
    })
  }

  /**
   * A checkpoint for which nothing is released. Durable when it resolves. `from`: what this VM remembered when it found that `state`
   * continues it. Throws `HSM_STORE_WRITE`, `HSM_BUSY`.
   */
  saveWitness(state: WitnessState, from = this.#witness): Promise<void> {
    const file = path.join(this.#directory, 'witness.json')
    return this.#commit(state, from, () => written(() => writeDurably(file, encodeWitnessState(state))))
  }

  /**
   * One after another, and none over what it was not compared with: a call that was given up because the disk was slow may still
   * be writing when the next one has been decided.
   */
  #commit(state: WitnessState, from: WitnessState | null, write: () => Promise<void>): Promise<void> {
    return this.#commits.run(async () => {
      if (this.#witness !== from)
        throw new HsmError('HSM_BUSY', 'another checkpoint was remembered meanwhile', { retry: true })
      await write()
      this.#witness = state
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.decisions[Symbol.asyncDispose]()
    await this.#lock.close()
  }
}

/** All that was decided. The service may run. Throws `HSM_STORE_DAMAGED`. */
export function readRecord(directory: string): AsyncGenerator<Decision> {
  return readDecisions(path.join(directory, recordFile))
}

/** Throws `HSM_STORE_DAMAGED`. */
export async function readWitness(directory: string): Promise<WitnessState | null> {
  try {
    const bytes = await readBounded(path.join(directory, 'witness.json'), witnessBytesMax)
    return bytes?.parse(parseWitnessState) ?? null
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw new HsmError('HSM_STORE_DAMAGED', `witness.json: ${cause.message}`, { cause })
  }
}

/** Either may be newer: the file is written when nothing is released, the record when something is. */
function newest(file: WitnessState | null, record: WitnessState | null): WitnessState | null {
  if (file === null || record === null) return file ?? record
  if (
    file.origin !== record.origin ||
    (file.size === record.size && !equalConstantTime(file.root, record.root))
  )
    throw new HsmError('HSM_STORE_DAMAGED', 'witness.json and the record of releases contradict each other')
  return file.size > record.size ? file : record
}

async function written(write: () => Promise<void>): Promise<void> {
  try {
    await write()
  } catch (cause) {
    throw new HsmError('HSM_STORE_WRITE', 'the directory of the HSM VM could not be written', { cause })
  }
}
