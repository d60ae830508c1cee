import { access, mkdir, open, readFile } from 'node:fs/promises'
import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { errnoOf } from '../base/errors.ts'
import { makePrivateDirectory, syncDirectory, writeDurably } from '../base/files.ts'
import { parseProfileName } from '../base/names.ts'
import { Secret } from '../base/secret.ts'
import * as commands from '../hsm/commands.ts'
import { type Decision, readDecisions } from '../hsm/decisions.ts'
import { EnvelopeStore } from '../hsm/envelope-store.ts'
import { HsmError } from '../hsm/errors.ts'
import type { PinSource } from '../hsm/pin.ts'
import { recordFile } from '../hsm/store.ts'
import type { TokenProcess } from '../hsm/token-process.ts'
import type { Answer } from './command-line.ts'
import { surroundings } from './surroundings.ts'

/* `strongroom hsm …`: what a person does in the HSM VM, with the files around it. */

const template = path.join(import.meta.dirname, '../../softhsm-config/softhsm2.conf.in')
const officerPinDigits = 16

export interface HsmCommandPorts {
  readonly token: TokenProcess
  readonly pin: PinSource
  readonly entropy: Entropy
  readonly home: string
  /** SoftHSM only: written by `init` if it is not there. */
  readonly softhsmConfiguration: string | undefined
}

/** Makes the token and its two keys where they are missing; whatever exists is kept. */
export async function init(ports: HsmCommandPorts, signal: AbortSignal): Promise<Answer> {
  const { token, softhsmConfiguration } = ports
  if (softhsmConfiguration !== undefined) await writeSofthsmConfiguration(softhsmConfiguration)
  try {
    return describe(await initialise(ports, signal), 'made a token and its keys')
  } catch (error) {
    if (!(error instanceof HsmError && error.code === 'HSM_TOKEN_EXISTS')) throw error
    return describe(await commands.makeKeys(token, signal), 'the token was there; its keys are complete')
  }
}

async function initialise({ token, pin, entropy }: HsmCommandPorts, signal: AbortSignal) {
  using user = await pin.fetch(signal)
  // The security officer's PIN only resets the user's. Nobody keeps it: what a lost PIN needs is the recovery key.
  using officer = Secret.take(Uint8Array.from(entropy.bytes(officerPinDigits), byte => 0x30 + (byte % 10)))
  return await commands.initToken(token, { officer, user }, signal)
}

export async function keys({ token }: HsmCommandPorts, signal: AbortSignal): Promise<Answer> {
  return describe(await commands.makeKeys(token, signal), 'keys of the token')
}

function describe({ witnessKey, recipient }: commands.TokenIdentity, title: string): Answer {
  return {
    result: { witnessKey, recipient },
    text: [
      title,
      `witness    ${witnessKey ?? 'none'}`,
      '           goes into roles.json as keys.hsm',
      `recipient  ${recipient}`,
    ],
  }
}

async function writeSofthsmConfiguration(file: string): Promise<void> {
  const exists = await access(file).then(
    () => true,
    () => false,
  )
  if (exists) return
  const tokens = path.join(path.dirname(file), 'tokens')
  await mkdir(tokens, { recursive: true, mode: 0o700 })
  const text = await readFile(template, 'utf8')
  await writeDurably(file, utf8(text.replaceAll('@TOKENS@', tokens)))
}

export async function doctor({ token }: HsmCommandPorts, signal: AbortSignal): Promise<Answer> {
  const findings = [...(await commands.doctor(token, signal)), ...(await surroundings())]
  return { result: findings, text: findings.map(({ ok, text }) => `${ok ? 'ok' : 'NO'}  ${text}`) }
}

/** The recovery key is durable before the envelope exists: no epoch is ever without one. */
export async function newEpoch(
  { token, entropy, home }: HsmCommandPorts,
  untrustedProfile: string,
  recoveryKeyFile: string,
  signal: AbortSignal,
): Promise<Answer> {
  const profile = parseProfileName(untrustedProfile)
  const recovery = commands.makeRecoveryKey(entropy)
  using identity = recovery.identity
  await writeNew(recoveryKeyFile, identity)
  const store = new EnvelopeStore(home)
  const { epoch, digest } = await commands.newEpoch(
    { envelopes: store, token, entropy },
    profile,
    [recovery.recipient],
    signal,
  )
  const envelope = store.pathOf({ profile, epoch, revision: 1 })
  return {
    result: { profile, epoch, digest, envelope, recoveryKey: recoveryKeyFile },
    text: [
      `epoch         ${epoch} of ${profile}: a new key for new data`,
      `envelope      ${envelope}`,
      `digest        ${digest}`,
      `              goes, with the epoch, into hsm/${profile}.json of the seal's draft`,
      `recovery key  ${recoveryKeyFile}`,
      '              keep it offline, and a copy of the envelope with it',
    ],
  }
}

export interface RewrapOptions {
  readonly profile: string
  /** `null`: the newest. */
  readonly epoch: number | null
  readonly recipients: readonly string[]
  /** Opens the present envelope; `null`: this token does. */
  readonly recoveryKeyFile: string | null
}

/** Another envelope for the same passphrase. */
export async function rewrap(
  { token, home }: HsmCommandPorts,
  { profile: untrustedProfile, epoch, recipients, recoveryKeyFile }: RewrapOptions,
  signal: AbortSignal,
): Promise<Answer> {
  const profile = parseProfileName(untrustedProfile)
  const store = new EnvelopeStore(home)
  const epochs = (await store.list()).filter(one => one.profile === profile).map(one => one.epoch)
  const open =
    recoveryKeyFile === null ? commands.byToken(token, signal) : commands.byRecoveryKey(recoveryKeyFile)
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
      `envelope  ${envelope}: for this token and ${recipients.length} more`,
      `digest    ${made.digest}`,
      `          goes into hsm/${profile}.json of the seal's draft; nothing else changes`,
      'careful   whoever could open the envelope before still can, if he has a copy of it',
    ],
  }
}

async function writeNew(file: string, line: Secret): Promise<void> {
  const directory = path.dirname(path.resolve(file))
  await makePrivateDirectory(directory)
  const handle = await open(file, 'wx', 0o600).catch(cause => {
    if (errnoOf(cause) !== 'EEXIST') throw cause
    throw new BaseError('FIELD_INVALID', `${file} exists; a recovery key is never replaced`, { cause })
  })
  try {
    using text = Secret.take(line.expose(bytes => Uint8Array.of(...bytes, 0x0a)))
    await text.expose(bytes => handle.writeFile(bytes))
    await handle.sync()
  } finally {
    await handle.close()
  }
  await syncDirectory(directory)
}

export async function envelopes({ home }: HsmCommandPorts): Promise<Answer> {
  const found = await commands.listEnvelopes(new EnvelopeStore(home))
  return {
    result: found,
    text: found.map(
      ({ profile, epoch, revision, digest }) =>
        `${profile}  epoch ${epoch}${revision === 1 ? '' : `, revision ${revision}`}  ${digest}`,
    ),
  }
}

/** The record of the service, which may be running. */
export async function history(home: string, untrustedProfile: string | undefined): Promise<Answer> {
  const wanted = untrustedProfile === undefined ? null : parseProfileName(untrustedProfile)
  const found: Decision[] = []
  for await (const decision of readDecisions(path.join(home, recordFile)))
    if (wanted === null || decision.profile === wanted) found.push(decision)
  return {
    result: found,
    text: found.length === 0 ? ['nothing was asked for yet'] : found.map(describeDecision),
  }
}

function describeDecision({ time, outcome, profile, purpose, job, caller, code, reason }: Decision): string {
  const what = `${purpose ?? 'something'} of ${profile ?? 'no profile'}`
  const why = code === null ? '' : `: ${code}${reason === undefined ? '' : `, ${reason}`}`
  return `${time.toISOString()}  ${outcome.padEnd(8)}  ${what}, by ${caller}${job === null ? '' : `, job ${job}`}${why}`
}

/** Prints a passphrase: for a rescue, by whoever holds the recovery key. */
export async function recover(envelopeFile: string, recoveryKeyFile: string): Promise<Answer> {
  using passphrase = await commands.recoverPassphrase(recoveryKeyFile, envelopeFile)
  const text = passphrase.expose(bytes => Buffer.from(bytes).toString('latin1'))
  return { result: { passphrase: text }, text: [text] }
}
