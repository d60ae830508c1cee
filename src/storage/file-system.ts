import type { FileHandle } from 'node:fs/promises'
import { CodedError, errnoOf } from '../base/errors.ts'
import { readWhole } from '../base/files.ts'
import { StorageError } from './errors.ts'

/** The part of `node:fs/promises` that a local store uses; tests give one that fails at the N-th call. */
export type FileSystem = Pick<
  typeof import('node:fs/promises'),
  'open' | 'link' | 'unlink' | 'mkdir' | 'readdir' | 'lstat'
>

const fullErrnos = new Set(['ENOSPC', 'EDQUOT'])
const passingErrnos = new Set(['EMFILE', 'ENFILE', 'EAGAIN', 'EINTR', 'ENOMEM'])

/** What a failed system call means for the object that it was for. Paths stay in the cause, for the log. */
export function storageErrorOf(error: unknown, what: string): Error {
  if (error instanceof CodedError) return error
  const errno = errnoOf(error) ?? 'an unknown error'
  if (fullErrnos.has(errno))
    return new StorageError('STORAGE_FULL', `no room for ${what} (${errno})`, { cause: error })
  return new StorageError('STORAGE_IO', `the file system failed for ${what} (${errno})`, {
    cause: error,
    retry: passingErrnos.has(errno),
  })
}

/** Whether the file holds exactly `bytes`, compared in pieces. */
export async function holdsExactly(handle: FileHandle, bytes: Uint8Array): Promise<boolean> {
  const { size } = await handle.stat()
  if (size !== bytes.byteLength) return false
  const piece = Buffer.allocUnsafeSlow(Math.min(comparedBytesMax, size))
  for (let at = 0; at < size; at += piece.byteLength) {
    const expected = bytes.subarray(at, at + piece.byteLength)
    const found = piece.subarray(0, expected.byteLength)
    if (!(await readWhole(handle, found, at)) || !found.equals(expected)) return false
  }
  return true
}

const comparedBytesMax = 1024 * 1024
