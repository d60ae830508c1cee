import { Buffer } from 'node:buffer'
import pkcs11 from 'pkcs11js'
import { view } from '../base/bytes.ts'
import { HsmError } from './errors.ts'
import type { CounterChange } from './token-protocol.ts'
import type { TokenSession } from './token-session.ts'

/** Counts the versions of the sealed store. */
const counterLabel = 'strongroom-counter'
const counterLength = 8

/**
 * A data object that only the PIN shows: what it keeps no old disk of this VM brings back. The value of one cannot be changed, so
 * the next is made beside it; of two that a crash has left the higher counts.
 */
export function count(session: TokenSession, change: CounterChange): number {
  const found = session
    .findAll(pkcs11.CKO_DATA, counterLabel)
    .map(object => ({ object, value: readValue(session.attribute(object, pkcs11.CKA_VALUE)) }))
  const value = Math.max(...found.map(one => one.value))
  if (found.length === 0 && change !== 'make')
    throw new HsmError('HSM_COUNTER_MISSING', `the token has no data object '${counterLabel}'`)
  if (found.length > 0 && change !== 'increment') return value
  const next = found.length === 0 ? 0 : value + 1
  session.create([
    { type: pkcs11.CKA_CLASS, value: pkcs11.CKO_DATA },
    { type: pkcs11.CKA_TOKEN, value: true },
    { type: pkcs11.CKA_PRIVATE, value: true },
    { type: pkcs11.CKA_LABEL, value: counterLabel },
    { type: pkcs11.CKA_VALUE, value: counterValue(next) },
  ])
  for (const { object } of found) session.destroy(object)
  return next
}

function readValue(bytes: Uint8Array): number {
  if (bytes.byteLength === counterLength) return Number(view(bytes).readBigUInt64BE())
  throw new HsmError('HSM_TOKEN_FAILED', `the counter in the token is not ${counterLength} bytes`)
}

function counterValue(value: number): Buffer {
  const bytes = Buffer.alloc(counterLength)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}
