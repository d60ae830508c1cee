import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { CodedError } from '../base/errors.ts'
import { makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { type Digest, type ProfileName, parseProfileName } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { encodeWitnessState, parseWitnessState, type WitnessState } from '../ledger/witness.ts'
import { DecisionLog } from './decisions.ts'
import { envelopeBytesMax } from './envelope.ts'
import { HsmError } from './errors.ts'

/*
 * The HSM VM's directory: `envelopes/<profile>.e<epoch>.age`, `witness.json` and `releases.jsonl`. One process writes it.
 */

const witnessBytesMax = 1024

export interface StoredEnvelope {
  readonly profile: ProfileName
  readonly epoch: number
}

export class HsmStore implements AsyncDisposable {
  readonly #directory: string
  readonly decisions: DecisionLog
  #witness: WitnessState | null

  private constructor(directory: string, decisions: DecisionLog, witness: WitnessState | null) {
    this.#directory = directory
    this.decisions = decisions
    this.#witness = witness
  }

  /** Throws `HSM_STORE_DAMAGED`, also when the witness's memory is older than what was released. */
  static async open(directory: string): Promise<HsmStore> {
    await makePrivateDirectory(path.join(directory, 'envelopes'))
    const witness = await readWitness(directory)
    const decisions = await DecisionLog.open(path.join(directory, 'releases.jsonl'))
    const size = witness?.size ?? 0
    if (size > decisions.indexMax) return new HsmStore(directory, decisions, witness)
    await decisions[Symbol.asyncDispose]()
    throw new HsmError(
      'HSM_STORE_DAMAGED',
      `the witness remembers ${size} entries, but entry ${decisions.indexMax} was answered`,
    )
  }

  /** The newest checkpoint that was cosigned. */
  get witness(): WitnessState | null {
    return this.#witness
  }

  /** Durable when it resolves. Throws `HSM_STORE_WRITE`. */
  async saveWitness(state: WitnessState): Promise<void> {
    await written(() => writeDurably(path.join(this.#directory, 'witness.json'), encodeWitnessState(state)))
    this.#witness = state
  }

  /** Throws `HSM_ENVELOPE_MISSING`. */
  async envelope(profile: ProfileName, epoch: number): Promise<Untrusted<Uint8Array>> {
    const bytes = await readEnvelope(this.#envelopePath({ profile, epoch }))
    if (bytes !== null) return bytes
    throw new HsmError('HSM_ENVELOPE_MISSING', `there is no envelope for ${profile} in epoch ${epoch}`)
  }

  /** The envelope whose bytes have the sealed digest. Throws `HSM_ENVELOPE_MISSING` or `HSM_ENVELOPE_MISMATCH`. */
  async sealedEnvelope(profile: ProfileName, epoch: number, digest: Digest): Promise<Untrusted<Uint8Array>> {
    const bytes = await this.envelope(profile, epoch)
    const found = bytes.parse(sha256Hex)
    if (found === digest) return bytes
    throw new HsmError(
      'HSM_ENVELOPE_MISMATCH',
      `the envelope for ${profile} in epoch ${epoch} has digest ${found.slice(0, 12)}…; ${digest.slice(0, 12)}… is sealed`,
    )
  }

  /** Its digest. An epoch has one envelope for ever: throws `HSM_ENVELOPE_EXISTS` rather than lose a passphrase. */
  async putEnvelope(profile: ProfileName, epoch: number, bytes: Uint8Array): Promise<Digest> {
    const file = this.#envelopePath({ profile, epoch })
    if ((await readEnvelope(file)) !== null)
      throw new HsmError(
        'HSM_ENVELOPE_EXISTS',
        `there is an envelope for ${profile} in epoch ${epoch} already`,
      )
    await written(() => writeDurably(file, bytes))
    return sha256Hex(bytes)
  }

  /** By profile and epoch. */
  async envelopes(): Promise<readonly StoredEnvelope[]> {
    const names = await readdir(path.join(this.#directory, 'envelopes'))
    return names
      .map(parseEnvelopeName)
      .filter(one => one !== null)
      .sort((a, b) => (a.profile === b.profile ? a.epoch - b.epoch : a.profile < b.profile ? -1 : 1))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.decisions[Symbol.asyncDispose]()
  }

  #envelopePath({ profile, epoch }: StoredEnvelope): string {
    return path.join(this.#directory, 'envelopes', `${profile}.e${epoch}.age`)
  }
}

function parseEnvelopeName(untrustedName: string): StoredEnvelope | null {
  const [, profile, epoch] = /^(.{1,64})\.e([1-9]\d{0,5})\.age$/.exec(untrustedName) ?? []
  if (profile === undefined || epoch === undefined) return null
  try {
    return { profile: parseProfileName(profile), epoch: Number(epoch) }
  } catch {
    return null // a file of somebody else
  }
}

async function readEnvelope(file: string): Promise<Untrusted<Uint8Array> | null> {
  try {
    return await readBounded(file, envelopeBytesMax)
  } catch (cause) {
    throw new HsmError('HSM_ENVELOPE_INVALID', `${path.basename(file)} could not be read`, { cause })
  }
}

async function readWitness(directory: string): Promise<WitnessState | null> {
  try {
    const bytes = await readBounded(path.join(directory, 'witness.json'), witnessBytesMax)
    return bytes?.parse(parseWitnessState) ?? null
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause
    throw new HsmError('HSM_STORE_DAMAGED', `witness.json: ${cause.message}`, { cause })
  }
}

async function written(write: () => Promise<void>): Promise<void> {
  try {
    await write()
  } catch (cause) {
    throw new HsmError('HSM_STORE_WRITE', 'the directory of the HSM VM could not be written', { cause })
  }
}
