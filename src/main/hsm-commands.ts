import { access, readFile } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { makePrivateDirectory, writeDurably } from '../base/files.ts'
import { parseProfileName } from '../base/names.ts'
import { Secret } from '../base/secret.ts'
import * as commands from '../hsm/commands.ts'
import type { Decision } from '../hsm/decisions.ts'
import { type Duties, doctor as examine } from '../hsm/doctor.ts'
import { HsmError } from '../hsm/errors.ts'
import type { PinSource } from '../hsm/pin.ts'
import { readRecord } from '../hsm/store.ts'
import type { TokenProcess } from '../hsm/token-process.ts'
import { witnessFields } from '../ledger/witness.ts'
import type { Answer } from './command-line.ts'
import { surroundings } from './surroundings.ts'
import { openToken, type TokenOptions } from './token.ts'

/* `strongroom hsm …`: what a person does in the HSM VM, with the files around it. */

const template = path.join(import.meta.dirname, '../../softhsm-config/softhsm2.conf.in')
const officerPinDigits = 16

export interface HsmCommandPorts {
  readonly token: TokenProcess
  readonly pin: PinSource
  readonly entropy: Entropy
  readonly home: string
}

/** For what is done to one of two tokens. */
export interface TokenPorts extends HsmCommandPorts {
  /** SoftHSM only: written by `init` if it is not there. */
  readonly softhsmConfiguration: string | undefined
  readonly duties: Duties
  /** The same token, with its PIN from a person. */
  readonly typed: TokenOptions
}

/** Makes the token and its two keys where they are missing; whatever exists is kept. */
export async function init(ports: TokenPorts, signal: AbortSignal): Promise<Answer> {
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
      `witness    ${witnessKey ?? 'none: the token has no Ed25519, and another must witness the ledger'}`,
      ...(witnessKey === null ? [] : ['           goes into roles.json as keys.hsm']),
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
  await makePrivateDirectory(tokens)
  const text = await readFile(template, 'utf8')
  await writeDurably(file, utf8(text.replaceAll('@TOKENS@', tokens)))
}

export async function doctor({ token, duties }: TokenPorts, signal: AbortSignal): Promise<Answer> {
  const findings = [...(await examine(token, duties, signal)), ...(await surroundings())]
  const mark = (ok: boolean | null) => (ok === null ? '--' : ok ? 'ok' : 'NO')
  return { result: findings, text: findings.map(({ ok, text }) => `${mark(ok)}  ${text}`) }
}

/** A person gives the PIN; once the token has taken it, nothing is remembered of those that it had refused. */
export async function pinAnew(typed: TokenOptions, signal: AbortSignal): Promise<Answer> {
  using token = openToken(typed)
  await token.publicKeys(signal)
  return {
    result: { accepted: true },
    text: ['the token has taken the PIN; those that it had refused are forgotten'],
  }
}

/** The record of the service, which may be running. */
export async function history(home: string, untrustedProfile: string | undefined): Promise<Answer> {
  const wanted = untrustedProfile === undefined ? null : parseProfileName(untrustedProfile)
  const found: Decision[] = []
  for await (const decision of readRecord(home))
    if (wanted === null || decision.profile === wanted) found.push(decision)
  return {
    result: found.map(({ witness, ...rest }) =>
      witness === undefined ? rest : { ...rest, witness: witnessFields(witness) },
    ),
    text: found.length === 0 ? ['nothing was asked for yet'] : found.map(describeDecision),
  }
}

function describeDecision({
  time,
  outcome,
  profile,
  epoch,
  purpose,
  job,
  caller,
  code,
  reason,
}: Decision): string {
  const what = `${purpose ?? 'something'} of ${profile ?? 'no profile'}${epoch === undefined ? '' : `, epoch ${epoch}`}`
  const why = code === null ? '' : `: ${code}${reason === undefined ? '' : `, ${reason}`}`
  return `${time.toISOString()}  ${outcome.padEnd(8)}  ${what}, by ${caller}${job === null ? '' : `, job ${job}`}${why}`
}
