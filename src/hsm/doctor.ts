import { HsmError } from './errors.ts'
import type { TokenProcess } from './token-process.ts'
import type { InspectedToken, KeptKey, PinState, Unwrapping } from './token-protocol.ts'

/* What is to be said of a token: what it says of itself, what was tried, and what nobody can prove. */

export interface Finding {
  /** `null`: neither good nor bad. */
  readonly ok: boolean | null
  readonly text: string
}

/** What a token is for: what it need not do is no fault of it. */
export interface Duties {
  readonly opens: boolean
  readonly witnesses: boolean
}

/** Looks without a PIN, then logs in and tries. Throws where there is no such token. */
export async function doctor(
  token: TokenProcess,
  duties: Duties,
  signal: AbortSignal,
): Promise<readonly Finding[]> {
  const inspected = await token.inspect(signal)
  const before = beforeLogin(inspected, duties)
  try {
    const { opens, keys } = await token.describe(signal)
    const { wrapping, witness } = await token.publicKeys(signal)
    return [
      ...before,
      { ok: true, text: 'logs in' },
      { ok: wrapping !== null || unless(duties.opens), text: has(wrapping, 'wrapping') },
      ...(wrapping === null
        ? []
        : [{ ok: opens !== null || unless(duties.opens), text: branchText(opens, inspected) }]),
      { ok: witness !== null || unless(duties.witnesses), text: has(witness, 'witness') },
      ...keys.flatMap(keptText),
    ]
  } catch (error) {
    // The rest is worth knowing all the more when the token lets nobody in.
    if (!(error instanceof HsmError)) throw error
    return [...before, { ok: false, text: `logs in: ${error.code}, ${error.message}; ${error.hint}` }]
  }
}

/** What is not there is bad if it is needed. */
function unless(isNeeded: boolean): false | null {
  return isNeeded ? false : null
}

function has(key: unknown, name: string): string {
  return `${key === null ? 'has not' : 'has'} the ${name} key`
}

function beforeLogin(token: InspectedToken, duties: Duties): readonly Finding[] {
  const { label, manufacturer, model, serial, mechanisms } = token
  const canRsa = token.oaep || token.rsa
  return [
    {
      ok: true,
      text: `token '${label}', ${manufacturer} ${model}, serial ${serial}, ${mechanisms} mechanisms`,
    },
    {
      ok: token.ecdh || canRsa || unless(duties.opens),
      text: token.ecdh
        ? 'can open envelopes: ECDH on P-256'
        : `can open envelopes: no ECDH, ${canRsa ? 'but RSA' : 'and no RSA'}`,
    },
    {
      ok: token.ed25519 || unless(duties.witnesses),
      text: token.ed25519
        ? 'can witness the ledger: Ed25519'
        : 'can witness the ledger: no Ed25519, and cosignatures know nothing else',
    },
    { ok: pinTexts[token.pin].ok, text: `PIN: ${pinTexts[token.pin].text}` },
    ...(token.isWriteProtected ? [{ ok: null, text: 'write-protected: no keys can be made in it' }] : []),
  ]
}

const pinTexts: Readonly<Record<PinState, Finding>> = {
  sound: { ok: true, text: 'the token tells of no wrong one' },
  'failed-before': { ok: null, text: 'the token counts wrong ones since the last right one' },
  'last-try': { ok: false, text: 'one try is left' },
  locked: { ok: false, text: 'locked' },
}

/** Which way is taken, having been tried, and why. */
function branchText(opens: Unwrapping | null, { ecdh, oaep }: InspectedToken): string {
  switch (opens) {
    case null:
      return 'opens envelopes: tried, and its wrapping key does not'
    case 'ecdh':
      return 'opens envelopes: tried, by ECDH on P-256'
    case 'oaep':
      return `opens envelopes: tried, by RSA-OAEP with SHA-256${ecdh ? '' : ', for it has no ECDH'}`
    case 'rsa':
      return `opens envelopes: tried, by RSA, and the padding is taken off outside${oaep ? ', for its OAEP does not take the label of age' : ', for it has no OAEP'}`
  }
}

function keptText({ label, isProtected, export: exported }: KeptKey): readonly Finding[] {
  const trial = {
    refused: {
      ok: true,
      text: `${label}: tried to have it wrapped, which the token refused; other ways cannot be ruled out`,
    },
    given: { ok: false, text: `${label}: the token gave it out wrapped, whatever it says of it` },
    untried: {
      ok: null,
      text: `${label}: nothing to try an export with; that it cannot leave is the token's word`,
    },
  }
  return [
    {
      ok: isProtected,
      text: isProtected
        ? `${label}: the token says that it is sensitive and not extractable`
        : `${label}: may be read or extracted, so it was not made by this product`,
    },
    trial[exported],
  ]
}
