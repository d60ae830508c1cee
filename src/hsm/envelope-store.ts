import { link, open, readdir, unlink } from 'node:fs/promises'
import path from 'node:path'
import { errnoOf } from '../base/errors.ts'
import { ignoreMissing, makePrivateDirectory, readBounded, syncDirectory } from '../base/files.ts'
import { type Digest, type ProfileName, parseProfileName } from '../base/names.ts'
import type { Untrusted } from '../base/untrusted.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { envelopeBytesMax } from './envelope.ts'
import { HsmError } from './errors.ts'

const besideDigits = 16

export interface StoredEnvelope {
  readonly profile: ProfileName
  readonly epoch: number
  /** From 1; each has the same passphrase, for other recipients. */
  readonly revision: number
}

/**
 * `envelopes/<profile>.e<epoch>.age`, and from its second revision on `<profile>.e<epoch>.r<revision>.age`, in the HSM VM's
 * directory. Files are only ever added, so commands may read and add them beside the service that runs.
 */
export class EnvelopeStore {
  readonly #directory: string

  constructor(home: string) {
    this.#directory = path.join(home, 'envelopes')
  }

  /** Throws `HSM_ENVELOPE_MISSING` or `HSM_ENVELOPE_INVALID`. */
  async get(envelope: StoredEnvelope): Promise<Untrusted<Uint8Array>> {
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

  /** Of one epoch, the newest first. */
  async revisions(profile: ProfileName, epoch: number): Promise<readonly StoredEnvelope[]> {
    return (await this.list()).filter(one => one.profile === profile && one.epoch === epoch).reverse()
  }

  /**
   * Its digest; durable when it resolves. Nothing is ever replaced: throws `HSM_ENVELOPE_EXISTS` rather than lose a passphrase,
   * also when two commands make the same epoch at once. Throws `HSM_STORE_WRITE`.
   */
  async put(envelope: StoredEnvelope, bytes: Uint8Array): Promise<Digest> {
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

  /** By profile, epoch and revision. */
  async list(): Promise<readonly StoredEnvelope[]> {
    const names = await readdir(this.#directory).catch(error => {
      ignoreMissing(error)
      return []
    })
    return names
      .map(parseEnvelopeName)
      .filter(one => one !== null)
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
    return path.join(this.#directory, `${profile}.e${epoch}${ending}.age`)
  }
}

function missing({ profile, epoch }: Pick<StoredEnvelope, 'profile' | 'epoch'>): never {
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

function parseEnvelopeName(untrustedName: string): StoredEnvelope | null {
  const [, profile, epoch, revision = '1'] =
    /^(.{1,64}?)\.e([1-9]\d{0,5})(?:\.r([2-9]|[1-9]\d{1,3}))?\.age$/.exec(untrustedName) ?? []
  if (profile === undefined || epoch === undefined) return null
  try {
    return { profile: parseProfileName(profile), epoch: Number(epoch), revision: Number(revision) }
  } catch {
    return null // a file of somebody else
  }
}
