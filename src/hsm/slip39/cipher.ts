import { pbkdf2Sync } from 'node:crypto'

/*
 * The cipher of SLIP-0039 between a secret and what is split: four Feistel rounds of PBKDF2. With the empty passphrase, the
 * only one that recovery keys have, it hides nothing; it is here so that every tool of the standard takes the shares.
 */

const iterationsOfRound = 2500
const forwards = [0, 1, 2, 3]
const backwards = forwards.toReversed()

export interface CipherParameters {
  /** 15 bits. */
  readonly identifier: number
  /** Whether the identifier is left out of the salt. */
  readonly extendable: boolean
  /** 0 to 15: the iterations are doubled so many times. */
  readonly exponent: number
}

/** `secret` has an even number of bytes. */
export function encryptSecret(
  secret: Uint8Array,
  passphrase: Uint8Array,
  parameters: CipherParameters,
): Uint8Array {
  return feistel(secret, passphrase, parameters, forwards)
}

export function decryptSecret(
  encrypted: Uint8Array,
  passphrase: Uint8Array,
  parameters: CipherParameters,
): Uint8Array {
  return feistel(encrypted, passphrase, parameters, backwards)
}

function feistel(
  input: Uint8Array,
  passphrase: Uint8Array,
  { identifier, extendable, exponent }: CipherParameters,
  rounds: readonly number[],
): Uint8Array {
  const half = input.byteLength / 2
  const prefix = extendable
    ? Buffer.alloc(0)
    : Buffer.from([...Buffer.from('shamir'), identifier >> 8, identifier & 0xff])
  let [left, right] = [input.slice(0, half), input.slice(half)]
  for (const round of rounds) {
    const [password, salt] = [Buffer.from([round, ...passphrase]), Buffer.concat([prefix, right])]
    const key = pbkdf2Sync(password, salt, iterationsOfRound << exponent, half, 'sha256')
    for (const [at, byte] of key.entries()) left[at] = (left[at] ?? 0) ^ byte
    for (const bytes of [password, salt, key]) bytes.fill(0)
    ;[left, right] = [right, left]
  }
  const output = new Uint8Array(input.byteLength)
  output.set(right)
  output.set(left, half)
  left.fill(0)
  right.fill(0)
  return output
}
