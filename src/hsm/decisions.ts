import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { KiB, utf8 } from '../base/bytes.ts'
import { CodedError, errnoOf } from '../base/errors.ts'
import { writeWhole } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import {
  type JobId,
  type ProfileName,
  parseDigest,
  parseJobId,
  parseProfileName,
  parseVmName,
} from '../base/names.ts'
import { dayMilliseconds } from '../base/quantities.ts'
import { Serially } from '../base/serially.ts'
import { purposes } from '../ledger/entry.ts'
import { parseWitnessFields, type WitnessState, witnessFields } from '../ledger/witness.ts'
import { HsmError } from './errors.ts'

/*
 * `releases.jsonl`: every decision, one line each, durable before anything follows from it. It is also the memory of
 * nonces, of the times of releases and of the ledger that was shown for them, so that none can be told another story than
 * the record, and one write keeps them all.
 */

const lineBytesMax = 4 * KiB
const partBytes = 64 * KiB
const noncesMax = 4096
const deniedMax = 4096
/** The highest limit that can be sealed: more times than these are not needed to judge. */
const timesMax = 10_000
/** Beyond these, refusals are in the log only: a flood of them must not fill the disk. */
export const refusalsPerDayMax = 1000
const newline = 0x0a
export const reasonLengthMax = 500

const parseDecision = fields('decision', {
  time: is.time,
  /** `failed`: allowed, and then something went wrong before the passphrase was handed over. */
  outcome: is.literal('allowed', 'refused', 'failed'),
  call: is.literal('release', 'stock'),
  caller: is.name(parseVmName),
  profile: is.nullable(is.name(parseProfileName)),
  job: is.nullable(is.name(parseJobId)),
  purpose: is.nullable(is.literal(...purposes)),
  /** Of the passphrase; records of older versions have none. */
  epoch: is.optional(is.integer(1)),
  index: is.nullable(is.integer()),
  nonce: is.nullable(is.name(parseDigest)),
  code: is.nullable(is.string(64)),
  /** What was wrong, for people; records of older versions have none. */
  reason: is.optional(is.string(reasonLengthMax)),
  /** The checkpoint that was cosigned with what is allowed; records of older versions have none. */
  witness: is.optional(parseWitnessFields),
})
export type Decision = ReturnType<typeof parseDecision>

export class DecisionLog implements AsyncDisposable {
  readonly #handle: FileHandle
  #length: number
  /** By nonce, the index of its request, in the order of the decisions. */
  readonly #nonces = new Map<string, number>()
  #indexMin = 0
  #indexMax = -1
  readonly #releases = new Map<ProfileName, Date[]>()
  readonly #refusals: Date[] = []
  readonly #denied = new Set<JobId>()
  #witness: WitnessState | null = null
  /** An append has failed: what it has left behind the known end goes first. */
  #torn = false
  readonly #appends = new Serially()

  private constructor(handle: FileHandle, length: number) {
    this.#handle = handle
    this.#length = length
  }

  /** Reads what was decided before. A last line that a crash has torn was never acted upon, and is removed. */
  static async open(file: string): Promise<DecisionLog> {
    const handle = await open(file, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, 0o600)
    try {
      const log = new DecisionLog(handle, 0)
      for await (const line of lines(handle)) {
        log.#remember(parseLine(line))
        log.#length += line.byteLength + 1
      }
      await handle.truncate(log.#length)
      await handle.sync()
      return log
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  get seenNonces(): ReadonlySet<string> {
    return new Set(this.#nonces.keys())
  }

  /** Requests below this index are too old to be remembered. */
  get indexMin(): number {
    return this.#indexMin
  }

  /** The highest entry of the ledger for which something was released; -1 before the first. */
  get indexMax(): number {
    return this.#indexMax
  }

  /** The newest checkpoint that was cosigned with a release. */
  get witness(): WitnessState | null {
    return this.#witness
  }

  /** Whether a person has said no to a job. */
  isDenied(job: JobId): boolean {
    return this.#denied.has(job)
  }

  releases(profile: ProfileName): readonly Date[] {
    return this.#releases.get(profile) ?? []
  }

  /**
   * Durable when it resolves, behind those that were begun before: a call that was given up may still be recording its end
   * when the next one is decided. Throws `HSM_STORE_WRITE`.
   */
  append(decision: Decision): Promise<void> {
    return this.#appends.run(() => this.#append(decision))
  }

  async #append(decision: Decision): Promise<void> {
    if (decision.outcome !== 'allowed' && !this.#isNewDenial(decision) && this.#isFlood(decision.time)) return
    const { witness } = decision
    const line = utf8(
      `${JSON.stringify(witness === undefined ? decision : { ...decision, witness: witnessFields(witness) })}\n`,
    )
    try {
      if (this.#torn) await this.#handle.truncate(this.#length)
      this.#torn = true
      await writeWhole(this.#handle, line, this.#length)
      await this.#handle.datasync()
      this.#torn = false
    } catch (cause) {
      throw new HsmError('HSM_STORE_WRITE', 'the decision could not be recorded', { cause })
    }
    this.#length += line.byteLength
    this.#remember(decision)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }

  /** What a person has said is kept, whatever dom0 has asked for besides. */
  #isNewDenial({ code, job }: Decision): boolean {
    return code === 'HSM_REFUSED_DENIED' && job !== null && !this.#denied.has(job)
  }

  #isFlood(now: Date): boolean {
    const [oldest] = this.#refusals
    return (
      this.#refusals.length >= refusalsPerDayMax && (oldest?.getTime() ?? 0) > now.getTime() - dayMilliseconds
    )
  }

  #remember({ outcome, time, profile, job, code, nonce, index, witness }: Decision): void {
    if (code === 'HSM_REFUSED_DENIED' && job !== null) this.#rememberDenied(job)
    if (outcome !== 'allowed') {
      this.#refusals.push(time)
      if (this.#refusals.length > refusalsPerDayMax) this.#refusals.shift()
      return
    }
    if (witness !== undefined) this.#witness = witness
    if (profile !== null) {
      const times = this.#releases.get(profile) ?? []
      times.push(time)
      if (times.length > timesMax) times.shift()
      this.#releases.set(profile, times)
    }
    if (nonce !== null && index !== null) this.#rememberNonce(nonce, index)
  }

  #rememberDenied(job: JobId): void {
    this.#denied.add(job)
    if (this.#denied.size <= deniedMax) return
    for (const oldest of this.#denied) {
      this.#denied.delete(oldest)
      break
    }
  }

  #rememberNonce(nonce: string, index: number): void {
    this.#indexMax = Math.max(this.#indexMax, index)
    this.#nonces.set(nonce, index)
    if (this.#nonces.size <= noncesMax) return
    for (const [oldest, oldestIndex] of this.#nonces) {
      this.#nonces.delete(oldest)
      this.#indexMin = Math.max(this.#indexMin, oldestIndex + 1)
      break
    }
  }
}

/** All that was decided, from a record that the service may be writing: a line that has no end yet is left out. */
export async function* readDecisions(file: string): AsyncGenerator<Decision> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW).catch(error => {
    if (errnoOf(error) === 'ENOENT') return null
    throw error
  })
  if (handle === null) return
  try {
    for await (const line of lines(handle)) yield parseLine(line)
  } finally {
    await handle.close()
  }
}

async function* lines(handle: FileHandle): AsyncGenerator<Uint8Array> {
  const part = Buffer.alloc(partBytes)
  let pending: Buffer = Buffer.alloc(0)
  for (let at = 0; ; ) {
    const { bytesRead } = await handle.read(part, 0, partBytes, at)
    if (bytesRead === 0) return
    at += bytesRead
    pending = Buffer.concat([pending, part.subarray(0, bytesRead)])
    for (let end = pending.indexOf(newline); end >= 0; end = pending.indexOf(newline)) {
      yield new Uint8Array(pending.subarray(0, end))
      pending = pending.subarray(end + 1)
    }
    if (pending.byteLength > lineBytesMax) throw damaged(`a line of more than ${lineBytesMax} bytes`)
  }
}

function parseLine(line: Uint8Array): Decision {
  try {
    return parseDecision(parseJson(line, { bytesMax: lineBytesMax }))
  } catch (cause) {
    if (cause instanceof CodedError) throw damaged(cause.message, cause)
    throw cause
  }
}

function damaged(what: string, cause?: unknown): HsmError {
  return new HsmError('HSM_STORE_DAMAGED', `the record of releases: ${what}`, { cause })
}
