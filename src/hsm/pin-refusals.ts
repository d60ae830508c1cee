import { createHash } from 'node:crypto'
import path from 'node:path'
import { BaseError } from '../base/base-errors.ts'
import { toHex, utf8 } from '../base/bytes.ts'
import type { Entropy } from '../base/environment.ts'
import { errnoOf } from '../base/errors.ts'
import { makePrivateDirectory, readBounded, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import type { Secret } from '../base/secret.ts'
import { HsmError } from './errors.ts'

/*
 * Which PINs a token has refused, over restarts: a service that is started again and again must not use up the tries of its token
 * with the same wrong PIN. A PIN is noted before it is sent, and forgotten when the token has taken it.
 *
 * Of each there is a salt and one byte of a hash. That is enough to know it again, and too little to guess it by: of a thousand
 * PINs four fit, whatever is computed. Once in 256 a PIN that was never tried is taken for a refused one; a person who types it
 * is always heard.
 */

const fileBytesMax = 4096
const saltLength = 16
export const refusedPinsMax = 8

export type Outcome = 'refused' | 'unknown'

/** What is known of the PINs that were sent. */
export interface PinRefusals {
  /** How sending this PIN ended before; `null`: it was not sent, or was taken. */
  find(pin: Secret): Promise<Outcome | null>
  count(): Promise<number>
  /** Durable when it resolves. */
  note(pin: Secret, outcome: Outcome): Promise<void>
  /** It was not the PIN that failed: as if it had not been sent. */
  forget(pin: Secret): Promise<void>
  /** The token took a PIN, or a person gives one anew. */
  clear(): Promise<void>
}

interface Note {
  readonly salt: string
  readonly check: string
  readonly outcome: Outcome
}

const hex = (length: number) => (untrustedValue: unknown) => {
  if (
    typeof untrustedValue === 'string' &&
    /^[0-9a-f]*$/.test(untrustedValue) &&
    untrustedValue.length === 2 * length
  )
    return untrustedValue
  throw new BaseError('FIELD_INVALID', `expected ${length} bytes in hex`)
}
const parseNotes = fields('refused PINs', {
  pins: is.array(
    fields('PIN', { salt: hex(saltLength), check: hex(1), outcome: is.literal('refused', 'unknown') }),
    refusedPinsMax,
  ),
})

interface Keep {
  /** Bytes of the hash. */
  readonly checkLength: number
  /** In hex; different each time. */
  readonly salt: () => string
  readonly read: () => Promise<readonly Note[]>
  readonly write: (notes: readonly Note[]) => Promise<void>
}

/** For as long as this process runs. */
export function refusalsInMemory(): PinRefusals {
  let notes: readonly Note[] = []
  const write = async (next: readonly Note[]) => {
    notes = next
  }
  return refusals({ checkLength: 32, salt: () => '', read: async () => notes, write })
}

/** Kept in a file of mode 0600, read anew each time. Throws `HSM_STORE_DAMAGED` or `HSM_STORE_WRITE`. */
export function refusalsIn(file: string, entropy: Entropy): PinRefusals {
  const read = async (): Promise<readonly Note[]> => {
    try {
      const untrustedBytes = await readBounded(file, fileBytesMax)
      if (untrustedBytes === null) return []
      return untrustedBytes.parse(bytes => parseNotes(parseJson(bytes, { bytesMax: fileBytesMax })).pins)
    } catch (cause) {
      const reason = cause instanceof BaseError ? cause.message : errnoOf(cause)
      if (reason === undefined) throw cause
      throw new HsmError('HSM_STORE_DAMAGED', `${file}: ${reason}`, {
        cause,
        hint: '`strongroom hsm pin` asks for the PIN and writes the file anew',
      })
    }
  }
  const write = async (pins: readonly Note[]) => {
    try {
      await makePrivateDirectory(path.dirname(file))
      await writeDurably(file, utf8(`${JSON.stringify({ pins })}\n`))
    } catch (cause) {
      throw new HsmError('HSM_STORE_WRITE', `${file}: ${errnoOf(cause) ?? 'failed'}; no PIN is sent`, {
        cause,
      })
    }
  }
  return refusals({ checkLength: 1, salt: () => toHex(entropy.bytes(saltLength)), read, write })
}

function refusals({ checkLength, salt, read, write }: Keep): PinRefusals {
  const checkOf = (salted: string, pin: Secret) =>
    pin.expose(bytes =>
      toHex(createHash('sha256').update(salted).update(bytes).digest().subarray(0, checkLength)),
    )
  const isOf = (note: Note, pin: Secret) => note.check === checkOf(note.salt, pin)
  const without = async (pin: Secret) => (await read()).filter(one => !isOf(one, pin))
  return {
    find: async pin => (await read()).find(one => isOf(one, pin))?.outcome ?? null,
    count: async () => (await read()).filter(({ outcome }) => outcome === 'refused').length,
    note: async (pin, outcome) => {
      const salted = salt()
      const note = { salt: salted, check: checkOf(salted, pin), outcome }
      await write([...(await without(pin)), note].slice(-refusedPinsMax))
    },
    forget: async pin => {
      const [before, after] = [await read(), await without(pin)]
      if (after.length < before.length) await write(after)
    },
    clear: async () => write([]),
  }
}
