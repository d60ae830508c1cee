import { printable } from '../base/errors.ts'
import { SealError } from './errors.ts'

/* Paths of sealed files: what a path is, and which role may hold it. */

const segmentsMax = 4
const segment = /^[A-Za-z0-9_+][A-Za-z0-9._+-]{0,99}$/

/** Segments of `[A-Za-z0-9._+-]` between single slashes; no leading dot or dash, so no `..` and no hidden file. */
export function isSealedPath(text: string): boolean {
  const segments = text.split('/')
  return segments.length <= segmentsMax && segments.every(one => segment.test(one))
}

/** A limit is a folder (`profiles/`: everything below it) or one file (`roles.json`). */
export function isPathLimit(text: string): boolean {
  return isSealedPath(text.endsWith('/') ? text.slice(0, -1) : text)
}

export function isWithin(path: string, limits: readonly string[]): boolean {
  return limits.some(limit => (limit.endsWith('/') ? path.startsWith(limit) : path === limit))
}

/** Whether some path could be within both. */
export function limitsOverlap(one: string, other: string): boolean {
  return isWithin(one, [other]) || isWithin(other, [one])
}

export function requirePath(untrustedPath: string, limits: readonly string[], what: string): void {
  if (!isSealedPath(untrustedPath))
    throw new SealError(
      'SEAL_PATH_REFUSED',
      `${what}: '${printable(untrustedPath).slice(0, 200)}' is not a path`,
    )
  if (!isWithin(untrustedPath, limits))
    throw new SealError(
      'SEAL_PATH_REFUSED',
      `${what}: '${untrustedPath}' is outside what this role may hold: ${limits.join(', ') || 'nothing'}`,
    )
}
