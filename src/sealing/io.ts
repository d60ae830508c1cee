import { readdir } from 'node:fs/promises'
import { CodedError, errnoOf, printable } from '../base/errors.ts'
import { SealError } from './errors.ts'

/** Gives errors of the file system the code `SEAL_IO`. Only for paths of our own: they are in the message. */
export async function reportingIo<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (cause) {
    if (cause instanceof CodedError || !(cause instanceof Error) || errnoOf(cause) === undefined) throw cause
    throw new SealError('SEAL_IO', printable(cause.message), { cause })
  }
}

/** The names in a directory, sorted; none when it is not there. Throws `SEAL_IO`. */
export async function namesIn(directory: string): Promise<readonly string[]> {
  const names = await reportingIo(() => readdir(directory)).catch(error => {
    if (error instanceof SealError && errnoOf(error.cause) === 'ENOENT') return []
    throw error
  })
  return names.sort()
}
