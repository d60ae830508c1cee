import process from 'node:process'
import { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'
import { Token } from './token.ts'
import type { TokenAnswer, TokenRequest } from './token-protocol.ts'

/*
 * The process around the PKCS#11 module. It can hang or crash without harm: `token-process.ts` ends it and starts
 * another. It ends by itself when its parent does.
 */

let token: Token | null = null

function answer(request: TokenRequest): unknown {
  switch (request.operation) {
    case 'initialise': {
      using officerPin = Secret.take(request.officerPin)
      using pin = Secret.take(request.pin)
      return Token.initialise(request, officerPin, pin)
    }
    case 'open': {
      using pin = Secret.take(request.pin)
      token = Token.open(request, pin)
      return null
    }
    case 'generate':
      return opened().generateKeys()
    case 'publicKeys':
      return opened().publicKeys()
    case 'describe':
      return opened().describe()
    case 'agree':
      return opened()
        .agree(request.peerPoint)
        .expose(bytes => bytes)
    case 'sealKey':
      return opened().sealKey(request.make)
    case 'seal':
      return opened().seal(request.message)
    case 'counter':
      return opened().counter(request.change)
    case 'sign':
      return opened().sign(request.message)
  }
}

function opened(): Token {
  if (token === null) throw new HsmError('HSM_TOKEN_MISSING', 'no token was opened')
  return token
}

function answered(request: TokenRequest): TokenAnswer {
  try {
    return { ok: true, value: answer(request) }
  } catch (error) {
    const known =
      error instanceof HsmError ? error : new HsmError('HSM_TOKEN_FAILED', 'the token process failed')
    return { ok: false, code: known.code, message: known.message, retry: known.retry }
  }
}

process.on('disconnect', () => process.exit(0))
// The other end is this same program: what it sends has this type.
process.on('message', request => {
  const message = answered(request as TokenRequest)
  process.send?.(message, undefined, undefined, () => {
    if (message.ok && message.value instanceof Uint8Array) message.value.fill(0)
  })
})
