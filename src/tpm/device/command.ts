import { view } from '../../base/bytes.ts'
import type { Secret } from '../../base/secret.ts'
import { TpmError } from '../errors.ts'
import { joined, nothing, sized, u8, u16, u32 } from '../public/marshal.ts'
import { TpmReader } from '../public/reader.ts'
import { headerLength } from './channel.ts'
import { refusal } from './response-codes.ts'
import type { Tpm } from './tpm.ts'

/* A command and its answer (part 1, section 18). */

const tag = { withoutSessions: 0x8001, withSessions: 0x8002 } as const
const passwordSession = 0x40000009
const continueSession = 1

/** How one handle of a command is authorised: a password, `null` for the empty one, or a policy session. */
export type Authorisation = { readonly password: Secret | null } | { readonly session: number }

export const emptyPassword: Authorisation = { password: null }

export interface Command {
  /** Of people. */
  readonly name: string
  /** TPM_CC. */
  readonly code: number
  readonly handles?: readonly number[]
  readonly authorisations?: readonly Authorisation[]
  /** Cleared once it was sent. */
  readonly parameters?: Uint8Array
  readonly givesHandle?: boolean
}

export interface Answer {
  /** 0 unless the command gives one. */
  readonly handle: number
  readonly parameters: Uint8Array
}

/** Throws what `transact` throws, and the error of the TPM's response code. */
export async function run(tpm: Tpm, command: Command, signal: AbortSignal): Promise<Answer> {
  const bytes = encode(command)
  try {
    for (let attempt = 1; ; attempt++) {
      const answer = await tpm.transact(bytes, signal)
      try {
        if (!asksToRetry(answer) || attempt === attemptsMax) return decode(answer, command)
      } finally {
        answer.fill(0)
      }
    }
  } finally {
    bytes.fill(0)
    command.parameters?.fill(0)
  }
}

const retryCode = 0x922
const attemptsMax = 5

/** Nothing was done yet: a TPM says so when it first has to write down that passwords are being tried. */
function asksToRetry(answer: Uint8Array): boolean {
  return answer.byteLength === headerLength && view(answer).readUInt32BE(6) === retryCode
}

function encode({ code, handles = [], authorisations = [], parameters = nothing }: Command): Uint8Array {
  const sessions = joined(...authorisations.map(encodeAuthorisation))
  const area = authorisations.length > 0 ? joined(u32(sessions.byteLength), sessions) : nothing
  const body = joined(...handles.map(u32), area, parameters)
  const kind = authorisations.length > 0 ? tag.withSessions : tag.withoutSessions
  const bytes = joined(u16(kind), u32(headerLength + body.byteLength), u32(code), body)
  for (const part of [sessions, area, body]) part.fill(0)
  return bytes
}

function encodeAuthorisation(authorisation: Authorisation): Uint8Array {
  if ('session' in authorisation)
    return joined(u32(authorisation.session), sized(nothing), u8(continueSession), sized(nothing))
  const encodeSession = (password: Uint8Array) =>
    joined(u32(passwordSession), sized(nothing), u8(continueSession), sized(password))
  return authorisation.password === null
    ? encodeSession(nothing)
    : authorisation.password.expose(encodeSession)
}

function decode(bytes: Uint8Array, { name, authorisations = [], givesHandle = false }: Command): Answer {
  const reader = new TpmReader(bytes, `the answer to ${name}`)
  const kind = reader.u16()
  if (reader.u32() !== bytes.byteLength) throw reader.malformed('it states another length than it has')
  const code = reader.u32()
  if (code !== 0) throw refusal(code, name)
  const hasSessions = authorisations.length > 0
  if (kind !== (hasSessions ? tag.withSessions : tag.withoutSessions))
    throw reader.malformed(`its tag is 0x${kind.toString(16)}`)
  const handle = givesHandle ? reader.u32() : 0
  if (!hasSessions) return { handle, parameters: reader.rest() }
  return { handle, parameters: reader.take(reader.u32()) }
}

/** Reads all parameters of an answer with `read`. */
export function readAnswer<T>({ parameters }: Answer, name: string, read: (reader: TpmReader) => T): T {
  const reader = new TpmReader(parameters, `the answer to ${name}`)
  const value = read(reader)
  reader.end()
  return value
}

/** A deadline of the connection's own is enough for what must be done on every path. */
const unhurried: AbortSignal = new AbortController().signal

const flushContext = 0x165

/** Uses what was loaded, and removes it from the TPM on every path: it has room for three. */
export async function withLoaded<L extends { readonly handle: number }, T>(
  tpm: Tpm,
  loaded: L,
  use: (loaded: L) => Promise<T>,
): Promise<T> {
  let result: T
  try {
    result = await use(loaded)
  } catch (error) {
    // The first error is the one to tell.
    await flush(tpm, loaded.handle).catch(ignoreTpmErrors)
    throw error
  }
  await flush(tpm, loaded.handle)
  return result
}

async function flush(tpm: Tpm, handle: number): Promise<void> {
  await run(tpm, { name: 'FlushContext', code: flushContext, parameters: u32(handle) }, unhurried)
}

function ignoreTpmErrors(error: unknown): void {
  if (!(error instanceof TpmError)) throw error
}
