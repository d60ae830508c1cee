import { scrypt } from 'node:crypto'
import { MiB } from '../base/bytes.ts'
import { Secret } from '../base/secret.ts'
import { CryptoError } from './errors.ts'

/** Cost of scrypt (RFC 7914): `N` a power of two, block size `r`, parallelisation `p`. */
export interface ScryptCost {
  readonly N: number
  readonly r: number
  readonly p: number
}

/** restic never asks for more than 60 MB; anything beyond is an attempt to exhaust this machine. */
const memoryBytesMax = 256 * MiB
/** `N * r * p`: a few seconds. */
const workMax = 2 ** 23

/** Throws `KDF_LIMIT` for a cost that is malformed or above the limits, before anything is paid. */
export function checkScryptCost({ N, r, p }: ScryptCost): void {
  const sound = [N, r, p].every(value => Number.isSafeInteger(value) && value >= 1)
  if (!sound || N < 2 || !Number.isInteger(Math.log2(N)))
    throw new CryptoError('KDF_LIMIT', `scrypt with N=${N}, r=${r}, p=${p} is malformed`)
  if (128 * N * r > memoryBytesMax || N * r * p > workMax)
    throw new CryptoError(
      'KDF_LIMIT',
      `scrypt with N=${N}, r=${r}, p=${p} costs too much; at most ${memoryBytesMax} bytes and N*r*p of ${workMax}`,
    )
}

/** `length` bytes derived from a passphrase in a thread of the pool. Throws `KDF_LIMIT`. */
export async function scryptKey(
  passphrase: Secret,
  salt: Uint8Array,
  cost: ScryptCost,
  length: number,
): Promise<Secret> {
  checkScryptCost(cost)
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>()
  // Node copies the passphrase before `scrypt` returns, so it need not outlive this call.
  passphrase.expose(bytes =>
    scrypt(bytes, salt, length, { ...cost, maxmem: 2 * memoryBytesMax }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    ),
  )
  return Secret.take(await promise)
}
