import { equalConstantTime, toBase64 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import { readBounded } from '../base/files.ts'
import type { Digest, ProfileName } from '../base/names.ts'
import { Secret } from '../base/secret.ts'
import { Untrusted } from '../base/untrusted.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { createEnvelope, envelopeBytesMax, openWithRecoveryKey, openWithToken } from './envelope.ts'
import { countRecipients, type RecipientCounts } from './envelope-header.ts'
import type { EnvelopeStore, StoredEnvelope } from './envelope-store.ts'
import { HsmError, type HsmErrorCode } from './errors.ts'
import { newPassphrase } from './passphrase.ts'
import { parseRecipient, tokenRecipient } from './recipients.ts'
import { requireWrappingKey, type TokenKey, tokenKey } from './token-key.ts'
import type { TokenProcess } from './token-process.ts'
import type { TokenPublicKeys } from './token-protocol.ts'

/* What a person does inside the HSM VM: `strongroom hsm …`. */

const recoveryKeyFileBytesMax = 4096

export interface TokenIdentity {
  /** `age1tag1…` or `ssh-rsa AAAA…`, for envelopes. */
  readonly recipient: string
  /** Base64, for `keys.hsm` of roles.json; `null` where the token cannot do Ed25519. */
  readonly witnessKey: string | null
}

/** Initialises the token and makes its keys. Throws `HSM_TOKEN_EXISTS` when there is one of that label. */
export async function initToken(
  token: TokenProcess,
  pins: { readonly officer: Secret; readonly user: Secret },
  signal: AbortSignal,
): Promise<TokenIdentity> {
  await token.initialise(pins.officer, pins.user, signal)
  return identityOf(await token.generateKeys(signal))
}

/** Makes the keys in a token that its own tools have initialised. */
export async function makeKeys(token: TokenProcess, signal: AbortSignal): Promise<TokenIdentity> {
  return identityOf(await token.generateKeys(signal))
}

export interface EnvelopeWithDigest extends StoredEnvelope {
  /** To be sealed in `hsm/PROFILE.json`, together with the epoch. */
  readonly digest: Digest
  readonly recipients: RecipientCounts
}

/**
 * A new passphrase in a new envelope, for this token and the given recipients, of which one at least must be a recovery
 * key. It has been opened with the token before it is stored. Takes effect when its epoch and digest are sealed.
 */
export async function newEpoch(
  { envelopes, token, entropy }: { envelopes: EnvelopeStore; token: TokenProcess; entropy: Entropy },
  profile: ProfileName,
  recipients: readonly string[],
  signal: AbortSignal,
): Promise<EnvelopeWithDigest> {
  using passphrase = newPassphrase(entropy)
  const envelope = await envelopeFor(passphrase, token, recipients, signal)
  const made: StoredEnvelope = { profile, epoch: (await envelopes.lastEpoch(profile)) + 1, revision: 1 }
  return await store(envelopes, made, envelope)
}

async function store(
  envelopes: EnvelopeStore,
  made: StoredEnvelope,
  envelope: Uint8Array,
): Promise<EnvelopeWithDigest> {
  const recipients = countRecipients(new Untrusted(envelope))
  return { ...made, digest: await envelopes.put(made, envelope), recipients }
}

/** Opens an envelope: this token, or a recovery key when the token that could is lost. */
export type EnvelopeOpener = (envelope: Untrusted<Uint8Array>) => Promise<Secret>

export function byToken(token: TokenProcess, signal: AbortSignal): EnvelopeOpener {
  return async envelope => openWithToken(envelope, await tokenKeyOf(token, signal))
}

export function byRecoveryKey(identity: Secret): EnvelopeOpener {
  return envelope => openWithRecoveryKey(envelope, identity)
}

/**
 * The passphrase of an epoch in another envelope: for this token and exactly the given recipients. No data is touched, and the
 * envelopes before stay, so who could open one still can. Takes effect when its digest is sealed. Throws `HSM_ENVELOPE_MISMATCH`.
 */
export async function rewrap(
  { envelopes, token, open }: { envelopes: EnvelopeStore; token: TokenProcess; open: EnvelopeOpener },
  { profile, epoch }: Pick<StoredEnvelope, 'profile' | 'epoch'>,
  recipients: readonly string[],
  signal: AbortSignal,
): Promise<EnvelopeWithDigest & { readonly before: RecipientCounts }> {
  const [newest, ...earlier] = await envelopes.revisions(profile, epoch)
  if (newest === undefined)
    throw new HsmError('HSM_ENVELOPE_MISSING', `there is no envelope for ${profile} in epoch ${epoch}`)
  const present = await envelopes.get(newest)
  using passphrase = await open(present)
  for (const one of earlier) await requireSame(passphrase, one, { envelopes, open })
  const envelope = await envelopeFor(passphrase, token, recipients, signal)
  const made: StoredEnvelope = { profile, epoch, revision: newest.revision + 1 }
  return { ...(await store(envelopes, made, envelope)), before: countRecipients(present) }
}

/**
 * Whoever knows a recipient can make an envelope for it: one that was put in the place of the newest must not be the one that is sealed
 * next. Those that this key does not open say nothing. Throws `HSM_ENVELOPE_MISMATCH`.
 */
async function requireSame(
  passphrase: Secret,
  other: StoredEnvelope,
  { envelopes, open }: { readonly envelopes: EnvelopeStore; readonly open: EnvelopeOpener },
): Promise<void> {
  try {
    using own = await open(await envelopes.get(other))
    if (own.expose(a => passphrase.expose(b => equalConstantTime(a, b)))) return
  } catch (error) {
    if (error instanceof HsmError && unopened.has(error.code)) return
    throw error
  }
  throw new HsmError(
    'HSM_ENVELOPE_MISMATCH',
    `revision ${other.revision} of epoch ${other.epoch} of ${other.profile} holds another passphrase than the newest`,
    {
      hint: 'somebody has put an envelope there: see which one has the sealed digest, and move the others away',
    },
  )
}

const unopened: ReadonlySet<HsmErrorCode> = new Set(['HSM_ENVELOPE_INVALID', 'HSM_ENVELOPE_OTHER_KEY'])

/** It has been opened with the token before anyone relies on it. */
async function envelopeFor(
  passphrase: Secret,
  token: TokenProcess,
  recipients: readonly string[],
  signal: AbortSignal,
): Promise<Uint8Array> {
  const key = await tokenKeyOf(token, signal)
  const own = tokenRecipient(key)
  const others = recipients.map(parseRecipient).filter(({ text }) => text !== own.text)
  const envelope = await createEnvelope(passphrase, [own, ...others])
  using opened = await openWithToken(new Untrusted(envelope), key)
  if (!opened.expose(a => passphrase.expose(b => equalConstantTime(a, b))))
    throw new HsmError('HSM_ENVELOPE_INVALID', 'the new envelope does not give back what was put in')
  return envelope
}

async function tokenKeyOf(token: TokenProcess, signal: AbortSignal): Promise<TokenKey> {
  return tokenKey((await token.publicKeys(signal)).wrapping, token, signal)
}

export async function listEnvelopes(envelopes: EnvelopeStore): Promise<readonly EnvelopeWithDigest[]> {
  return Promise.all(
    (await envelopes.list()).map(async one => {
      const bytes = await envelopes.get(one)
      return { ...one, digest: bytes.parse(sha256Hex), recipients: countRecipients(bytes) }
    }),
  )
}

/** A copy of an envelope, wherever it is. Throws `HSM_ENVELOPE_MISSING`. */
export async function readEnvelope(file: string): Promise<Untrusted<Uint8Array>> {
  const envelope = await readBounded(file, envelopeBytesMax)
  if (envelope !== null) return envelope
  throw new HsmError('HSM_ENVELOPE_MISSING', `there is no file ${printable(file)}`, {
    hint: 'name the copy of the envelope that is kept, or the one in the HSM VM',
  })
}

/** The identity in a file; not parsed yet. Throws `HSM_RECOVERY_KEY_INVALID` when there is none. */
export async function readRecoveryKey(file: string): Promise<Secret> {
  const line = await readBounded(file, recoveryKeyFileBytesMax)
  if (line === null)
    throw new HsmError('HSM_RECOVERY_KEY_INVALID', `there is no file ${printable(file)}`, {
      hint: 'name the file with the recovery key, or give its words (--words -)',
    })
  return line.parse(untrustedBytes => Secret.take(untrustedBytes))
}

function identityOf(keys: TokenPublicKeys): TokenIdentity {
  return {
    recipient: tokenRecipient(requireWrappingKey(keys.wrapping)).text,
    witnessKey: keys.witness && toBase64(keys.witness),
  }
}
