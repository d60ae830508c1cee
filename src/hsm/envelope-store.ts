import { constants } from 'node:fs'
import { link, lstat, open, readdir, rm, unlink } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import { errnoOf } from '../base/errors.ts'
import {
  ignoreMissing,
  makePrivateDirectory,
  readBounded,
  syncDirectory,
  writeDurably,
  writeWhole,
} from '../base/files.ts'
import { type Digest, type ProfileName, parseProfileName } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { envelopeBytesMax } from './envelope.ts'
import { HsmError } from './errors.ts'

const besideDigits = 16
const besideEnding = /\.[0-9a-f]{16}\.new$/
const envelopeEnding = '.age'
const destroyedEnding = '.destroyed'

interface Epoch {
  readonly profile: ProfileName
  readonly epoch: number
}

export interface StoredEnvelope extends Epoch {
  /** From 1; each has the same passphrase, for other recipients. */
  readonly revision: number
}

/**
 * `envelopes/<profile>.e<epoch>.age`, and from its second revision on `<profile>.e<epoch>.r<revision>.age`, in the HSM VM's
 * directory. Files are only ever added, so commands may read and add them beside the service that runs; until an epoch is destroyed.
 * `<profile>.e<epoch>.destroyed` says so from then on, and its envelopes are none any more, also where a copy is put back.
 */
export class EnvelopeStore {
  readonly #directory: string

  constructor(home: string) {
    this.#directory = path.join(home, 'envelopes')
  }

  /** Throws `HSM_ENVELOPE_MISSING`, `HSM_ENVELOPE_INVALID` or `HSM_EPOCH_DESTROYED`. */
  async get(envelope: StoredEnvelope): Promise<Untrusted<Uint8Array>> {
    await this.#requireNotDestroyed(envelope)
    const file = this.pathOf(envelope)
    const bytes = await readBounded(file, envelopeBytesMax).catch(cause => {
      throw new HsmError('HSM_ENVELOPE_INVALID', `${path.basename(file)} could not be read`, { cause })
    })
    return bytes ?? missing(envelope)
  }

  /** The envelope whose bytes have the sealed digest. Throws what `get` throws, or `HSM_ENVELOPE_MISMATCH`. */
  async sealed(profile: ProfileName, epoch: number, digest: Digest): Promise<Untrusted<Uint8Array>> {
    const found: Digest[] = []
    for (const envelope of await this.revisions(profile, epoch)) {
      const bytes = await this.get(envelope)
      const own = bytes.parse(sha256Hex)
      if (own === digest) return bytes
      found.push(own)
    }
    if (found.length === 0) return missing({ profile, epoch })
    throw new HsmError(
      'HSM_ENVELOPE_MISMATCH',
      `the envelopes for ${profile} in epoch ${epoch} have digest ${found.map(one => `${one.slice(0, 12)}…`).join(', ')}; ${digest.slice(0, 12)}… is sealed`,
    )
  }

  /** Of one epoch, the newest first. Throws `HSM_EPOCH_DESTROYED`. */
  async revisions(profile: ProfileName, epoch: number): Promise<readonly StoredEnvelope[]> {
    await this.#requireNotDestroyed({ profile, epoch })
    return (await this.list()).filter(one => one.profile === profile && one.epoch === epoch).reverse()
  }

  /**
   * Its digest; durable when it resolves. Nothing is ever replaced: throws `HSM_ENVELOPE_EXISTS` rather than lose a passphrase,
   * also when two commands make the same epoch at once. Throws `HSM_STORE_WRITE`, `HSM_EPOCH_DESTROYED`.
   */
  async put(envelope: StoredEnvelope, bytes: Uint8Array): Promise<Digest> {
    await this.#requireNotDestroyed(envelope)
    try {
      await makePrivateDirectory(this.#directory)
      await writeNew(this.pathOf(envelope), bytes)
      await syncDirectory(this.#directory)
    } catch (cause) {
      if (errnoOf(cause) === 'EEXIST')
        throw new HsmError(
          'HSM_ENVELOPE_EXISTS',
          `there is an envelope for ${envelope.profile} in epoch ${envelope.epoch} already`,
        )
      throw new HsmError('HSM_STORE_WRITE', 'the envelope could not be written', { cause })
    }
    return sha256Hex(bytes)
  }

  /** The highest that there ever was; 0: none. */
  async lastEpoch(profile: ProfileName): Promise<number> {
    const all = [...(await this.list()), ...(await this.destroyed())]
    return Math.max(0, ...all.filter(one => one.profile === profile).map(({ epoch }) => epoch))
  }

  /** By profile, epoch and revision; without epochs that are destroyed. */
  async list(): Promise<readonly StoredEnvelope[]> {
    const ended = await this.destroyed()
    return (await this.#names())
      .map(name => parseName(name, envelopeEnding))
      .filter(one => one !== null)
      .filter(({ profile, epoch }) => !ended.some(one => one.profile === profile && one.epoch === epoch))
      .sort((a, b) =>
        a.profile === b.profile
          ? a.epoch - b.epoch || a.revision - b.revision
          : a.profile < b.profile
            ? -1
            : 1,
      )
  }

  pathOf({ profile, epoch, revision }: StoredEnvelope): string {
    const ending = revision === 1 ? '' : `.r${revision}`
    return path.join(this.#directory, `${profile}.e${epoch}${ending}${envelopeEnding}`)
  }

  async isDestroyed(profile: ProfileName, epoch: number): Promise<boolean> {
    return (await this.destroyed()).some(one => one.profile === profile && one.epoch === epoch)
  }

  async destroyed(): Promise<readonly Epoch[]> {
    return (await this.#names()).map(name => parseName(name, destroyedEnding)).filter(one => one !== null)
  }

  /**
   * Ends an epoch: first that it is destroyed is durable, then each revision is overwritten and removed. Answers how many were.
   * Once more, it does what is left to do. Throws `HSM_STORE_WRITE`; then the epoch is destroyed, or not begun.
   */
  async destroy(profile: ProfileName, epoch: number, time: Date): Promise<number> {
    try {
      const mark = path.join(this.#directory, `${profile}.e${epoch}${destroyedEnding}`)
      if (!(await this.isDestroyed(profile, epoch)))
        await writeDurably(mark, utf8(`${JSON.stringify({ time })}\n`))
      return await this.#removeAll({ profile, epoch })
    } catch (cause) {
      throw new HsmError('HSM_STORE_WRITE', 'an epoch could not be destroyed', { cause })
    }
  }

  /** What an interrupted `destroy` has left, and copies that somebody has put back. */
  async finishDestroying(): Promise<void> {
    for (const epoch of await this.destroyed()) await this.#removeAll(epoch)
  }

  async #removeAll({ profile, epoch }: Epoch): Promise<number> {
    const files = (await this.#names()).filter(name => {
      const found = parseName(name.replace(besideEnding, ''), envelopeEnding)
      return found?.profile === profile && found.epoch === epoch
    })
    for (const name of files) await overwriteAndRemove(path.join(this.#directory, name))
    if (files.length > 0) await syncDirectory(this.#directory)
    return files.length
  }

  async #requireNotDestroyed({ profile, epoch }: Epoch): Promise<void> {
    if (await this.isDestroyed(profile, epoch))
      throw new HsmError('HSM_EPOCH_DESTROYED', `epoch ${epoch} of ${profile} is destroyed`)
  }

  async #names(): Promise<readonly string[]> {
    return readdir(this.#directory).catch(error => {
      ignoreMissing(error)
      return []
    })
  }
}

function missing({ profile, epoch }: Epoch): never {
  throw new HsmError('HSM_ENVELOPE_MISSING', `there is no envelope for ${profile} in epoch ${epoch}`)
}

/** There whole or not at all, whenever this is interrupted. Throws with `EEXIST` when there is one. */
async function writeNew(file: string, bytes: Uint8Array): Promise<void> {
  // No two envelopes are the same: whoever writes beside this one writes to another file.
  const beside = `${file}.${sha256Hex(bytes).slice(0, besideDigits)}.new`
  try {
    const handle = await open(beside, 'wx', 0o600)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await link(beside, file)
  } finally {
    await unlink(beside).catch(() => {})
  }
}

/**
 * What a disk makes of it is the disk's: an SSD, or a file system that copies when it writes, keeps the old bytes elsewhere. What is no
 * plain file, a link for instance, is removed and not written through: it must not keep the service from starting.
 */
async function overwriteAndRemove(file: string): Promise<void> {
  if (!(await lstat(file)).isFile()) return await rm(file, { recursive: true })
  const handle = await open(file, constants.O_RDWR | constants.O_NOFOLLOW)
  try {
    const { size } = await handle.stat()
    await writeWhole(handle, new Uint8Array(size), 0)
    await handle.sync()
  } finally {
    await handle.close()
  }
  await unlink(file)
}

function parseName(untrustedName: string, ending: string): StoredEnvelope | null {
  if (!untrustedName.endsWith(ending)) return null
  const [, profile, epoch, revision = '1'] =
    /^(.{1,64}?)\.e([1-9]\d{0,5})(?:\.r([2-9]|[1-9]\d{1,3}))?$/.exec(
      untrustedName.slice(0, -ending.length),
    ) ?? []
  if (profile === undefined || epoch === undefined) return null
  try {
    return { profile: parseProfileName(profile), epoch: Number(epoch), revision: Number(revision) }
  } catch {
    return null // a file of somebody else
  }
}
