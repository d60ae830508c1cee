import process from 'node:process'
import { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'
import { Token } from './token.ts'
import { initialiseToken, inspectToken } from './token-module.ts'
import type { NumberedRequest, TokenAnswer, TokenRequest } from './token-protocol.ts'

/*
 * The process around the PKCS#11 module. It can hang or crash without harm: `token-process.ts` ends it and starts
 * another. It ends by itself when its parent does.
 */

let token: Token | null = null

async function answer(request: TokenRequest): Promise<unknown> {
  switch (request.operation) {
    case 'initialise': {
      using officerPin = Secret.take(request.officerPin)
      using pin = Secret.take(request.pin)
      return initialiseToken(request, officerPin, pin)
    }
    case 'open': {
      using pin = Secret.take(request.pin)
      token = Token.open(request, pin, request.isCautious)
      return null
    }
    case 'inspect':
      return inspectToken(request)
    case 'generate':
      return await opened().generateKeys()
    case 'publicKeys':
      return await opened().publicKeys()
    case 'describe':
      return await opened().describe()
    case 'agree':
      return bytesOf(await opened().agree(request.peerPoint))
    case 'decrypt':
      return bytesOf(await opened().decrypt(request.ciphertext))
    case 'sealKey':
      return await opened().sealKey(request.make)
    case 'seal':
      return await opened().seal(request.message)
    case 'counter':
      return await opened().counter(request.change)
    case 'sign':
      return await opened().sign(request.message)
  }
}

function opened(): Token {
  if (token === null) throw new HsmError('HSM_TOKEN_MISSING', 'no token was opened')
  return token
}

/** Overwritten once they are sent. */
function bytesOf(secret: Secret): Uint8Array {
  return secret.expose(bytes => bytes)
}

async function answered({ id, request }: NumberedRequest): Promise<TokenAnswer> {
  try {
    return { id, ok: true, value: await answer(request) }
  } catch (error) {
    const known =
      error instanceof HsmError ? error : new HsmError('HSM_TOKEN_FAILED', 'the token process failed')
    return { id, ok: false, code: known.code, message: known.message, retry: known.retry }
  }
}

process.on('disconnect', () => process.exit(0))
// The other end is this same program: what it sends has this type.
process.on('message', async request => {
  const message = await answered(request as NumberedRequest)
  process.send?.(message, undefined, undefined, () => {
    if (message.ok && message.value instanceof Uint8Array) message.value.fill(0)
  })
})
