import { type ProfileName, parseProfileName } from '../base/names.ts'
import { countText } from '../base/quantities.ts'
import * as commands from '../hsm/commands.ts'
import type { RecipientCounts } from '../hsm/envelope-header.ts'
import { EnvelopeStore } from '../hsm/envelope-store.ts'
import { parseRecipient } from '../hsm/recipients.ts'
import { newRecoveryKey } from '../hsm/recovery.ts'
import { type HsmBinding, sealedEpochs } from '../profiles/binding.ts'
import { type Answer, missing } from './command-line.ts'
import type { HsmCommandPorts } from './hsm-commands.ts'
import { type RecoverySource, recoveryKeyFrom, writeNew } from './hsm-recovery.ts'

/* `strongroom hsm new-epoch`, `rewrap` and `envelopes`: passphrases, and who can open them. */

export interface NewEpochOptions {
  readonly profile: string
  /** Where a new recovery key is written; `null`: none is made. */
  readonly recoveryKeyFile: string | null
  /** Recovery keys that there are, and other tokens. */
  readonly recipients: readonly string[]
}

/** The recovery key is durable before the envelope exists: no epoch is ever without one. */
export async function newEpoch(
  { token, entropy, home }: HsmCommandPorts,
  { profile: untrustedProfile, recoveryKeyFile, recipients }: NewEpochOptions,
  sealed: (profile: ProfileName) => Promise<HsmBinding | null>,
  signal: AbortSignal,
): Promise<Answer> {
  const profile = parseProfileName(untrustedProfile)
  const binding = await sealed(profile)
  for (const recipient of recipients) parseRecipient(recipient)
  if (recoveryKeyFile === null && recipients.length === 0) missing('--recovery-key or --recipient')
  using recovery = recoveryKeyFile === null ? null : newRecoveryKey(entropy)
  if (recovery !== null && recoveryKeyFile !== null) await writeNew(recoveryKeyFile, recovery.identity)
  const store = new EnvelopeStore(home)
  const made = await commands.newEpoch(
    { envelopes: store, token, entropy },
    profile,
    recovery === null ? recipients : [...recipients, recovery.recipient.text],
    signal,
  )
  const { epoch, digest } = made
  const envelope = store.pathOf({ profile, epoch, revision: 1 })
  const earlier = binding === null ? [] : sealedEpochs(binding).toReversed()
  return {
    result: { profile, epoch, digest, earlierEpochs: earlier, envelope, recoveryKey: recoveryKeyFile },
    text: [
      `epoch         ${epoch} of ${profile}: a new key for new data`,
      ...(binding === null
        ? [`              no profile ${profile} is sealed here yet; compare the name`]
        : []),
      ...(earlier.length === 0
        ? []
        : ['              nothing is encrypted anew: what is stored by now is read with the key before']),
      `envelope      ${envelope}`,
      `for           ${describeRecipients(made.recipients)}`,
      `digest        ${digest}`,
      `              goes, with the epoch, into hsm/${profile}.json of the seal's draft`,
      ...(earlier.length === 0
        ? []
        : [
            `earlier       "earlier_epochs": ${JSON.stringify(earlier)}`,
            '              goes there too: without it what is stored by now is no longer restored',
          ]),
      ...(recoveryKeyFile === null
        ? ['keep          a copy of the envelope where the recovery key can be brought together with it']
        : [
            `recovery key  ${recoveryKeyFile}`,
            '              keep it offline, and a copy of the envelope with it',
          ]),
    ],
  }
}

export interface RewrapOptions {
  readonly profile: string
  /** `null`: the newest. */
  readonly epoch: number | null
  readonly recipients: readonly string[]
  /** Opens the present envelope; `null`: this token does. */
  readonly source: RecoverySource | null
}

/** Another envelope for the same passphrase. */
export async function rewrap(
  { token, home }: HsmCommandPorts,
  { profile: untrustedProfile, epoch, recipients, source }: RewrapOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const profile = parseProfileName(untrustedProfile)
  const store = new EnvelopeStore(home)
  const epochs = (await store.list()).filter(one => one.profile === profile).map(one => one.epoch)
  using key = source === null ? null : await recoveryKeyFrom(source)
  const open = key === null ? commands.byToken(token, signal) : commands.byRecoveryKey(key.identity)
  const made = await commands.rewrap(
    { envelopes: store, token, open },
    { profile, epoch: epoch ?? Math.max(1, ...epochs) },
    recipients,
    signal,
  )
  const envelope = store.pathOf(made)
  return {
    result: { ...made, envelope },
    text: [
      `envelope  ${envelope}`,
      `for       ${describeRecipients(made.recipients)}, this token among them`,
      `before    ${describeRecipients(made.before)}`,
      `digest    ${made.digest}`,
      `          goes into hsm/${profile}.json of the seal's draft, as the envelope of epoch ${made.epoch}; nothing else changes`,
      'careful   whoever could open the envelope before still can, if he has a copy of it',
      ...(isFewer(made.recipients, made.before)
        ? ['careful   it is for fewer than before: who is to open it, and was not named with --recipient?']
        : []),
    ],
  }
}

export async function envelopes({ home }: HsmCommandPorts): Promise<Answer> {
  const found = await commands.listEnvelopes(new EnvelopeStore(home))
  return {
    result: found,
    text: found.map(
      ({ profile, epoch, revision, digest, recipients }) =>
        `${profile}  epoch ${epoch}${revision === 1 ? '' : `, revision ${revision}`}  ${digest}  for ${describeRecipients(recipients)}`,
    ),
  }
}

function describeRecipients({ tokens, recoveryKeys }: RecipientCounts): string {
  return `${countText(tokens, 'token')} and ${countText(recoveryKeys, 'recovery key')}`
}

function isFewer(now: RecipientCounts, before: RecipientCounts): boolean {
  return now.tokens < before.tokens || now.recoveryKeys < before.recoveryKeys
}
