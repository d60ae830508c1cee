import { BaseError } from '../base/base-errors.ts'
import { systemClock } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import { dayMilliseconds } from '../base/quantities.ts'
import type { PublicKey } from '../sealing/keys.ts'
import { readPublicKey } from '../sealing/public-key-file.ts'

/* What `strongroom seal` takes in the form ROLE=SOMETHING, and dates. */

const yearMilliseconds = 365 * dayMilliseconds

export function expiryOf(date: string | undefined): Date {
  if (date === undefined) return new Date(systemClock.now().getTime() + yearMilliseconds)
  const parsed = new Date(date)
  if (!Number.isNaN(parsed.getTime())) return parsed
  throw new BaseError('FIELD_INVALID', '--expires is a date like 2027-12-31', {
    hint: 'without it the end is in one year',
  })
}

const valueNames = { holder: 'FILE', add: 'FILE', remove: 'KEY', threshold: 'N' } as const
type RoleOption = keyof typeof valueNames

/** `ROLE=REST`, each. */
export function rolePairs(
  option: RoleOption,
  given: readonly string[] = [],
): readonly (readonly [string, string])[] {
  return given.map(text => {
    const at = text.indexOf('=')
    if (at > 0 && at < text.length - 1) return [text.slice(0, at), text.slice(at + 1)] as const
    throw new BaseError(
      'FIELD_INVALID',
      `--${option} is ROLE=${valueNames[option]}, not '${printable(text)}'`,
      { hint: 'see strongroom seal --help' },
    )
  })
}

/** Public keys from files, by role. */
export async function roleKeys(
  option: RoleOption,
  given: readonly string[] | undefined,
): Promise<readonly { readonly role: string; readonly key: PublicKey }[]> {
  const keys: { role: string; key: PublicKey }[] = []
  for (const [role, file] of rolePairs(option, given)) keys.push({ role, key: await readPublicKey(file) })
  return keys
}

export function thresholdsOf(given: readonly string[] | undefined): ReadonlyMap<string, number> {
  return new Map(
    rolePairs('threshold', given).map(([role, text]) => {
      if (/^[1-9]\d?$/.test(text)) return [role, Number(text)] as const
      throw new BaseError('FIELD_INVALID', '--threshold is ROLE=N, with N from 1 to 99', {
        hint: 'N is how many keys of the role must sign',
      })
    }),
  )
}
