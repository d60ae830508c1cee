import { stat } from 'node:fs/promises'
import { equalConstantTime, fromUtf8, toHex, utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { readBounded, writeDurably } from '../base/files.ts'
import { sha256 } from '../crypto/digest.ts'
import { ApiError } from './errors.ts'

const tokenBytes = 32
const tokenFileBytesMax = 200
const othersMask = 0o077

/** Knows a token again without holding it. */
export interface TokenCheck {
  accepts(untrustedHeader: string | undefined): boolean
}

/** Makes the token file of a new installation: 256 random bits in hex, readable by its owner only. */
export async function writeTokenFile(file: string, entropy: Entropy): Promise<void> {
  await writeDurably(file, utf8(`${toHex(entropy.bytes(tokenBytes))}\n`))
}

/** Throws `API_TOKEN_FILE`; there is no API without a token. */
export async function readTokenFile(file: string): Promise<TokenCheck> {
  const content = await readBounded(file, tokenFileBytesMax)
  if (content === null) throw new ApiError('API_TOKEN_FILE', 'there is no token file')
  const { mode } = await stat(file)
  if ((mode & othersMask) !== 0)
    throw new ApiError(
      'API_TOKEN_FILE',
      `the token file has mode ${(mode & 0o777).toString(8)}; expected 600`,
    )
  return content.parse(untrustedBytes => tokenCheck(fromUtf8(untrustedBytes).trimEnd()))
}

/** Compares digests in constant time, so that neither the token nor its length can be guessed from the time taken. */
export function tokenCheck(token: string): TokenCheck {
  if (!/^[0-9a-f]{64}$/.test(token))
    throw new ApiError('API_TOKEN_FILE', 'the token file does not hold 64 lower-case hex digits')
  const expected = sha256(utf8(token))
  return {
    accepts: untrustedHeader => {
      const [, presented] = /^Bearer ([!-~]{1,200})$/i.exec(untrustedHeader ?? '') ?? []
      return presented !== undefined && equalConstantTime(sha256(utf8(presented)), expected)
    },
  }
}
