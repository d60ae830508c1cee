import { spawn } from 'node:child_process'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import path from 'node:path'
import { HsmError } from './errors.ts'

/** flock(1) where it is told to fail at once. */
const takenStatus = 1

/**
 * Takes the HSM VM's directory for this process alone, until the handle is closed or the process ends in whatever way.
 * Node has no flock(2); util-linux's `flock` locks the open file that it is handed, and the lock is of that file, not of
 * the command. The kernel sees it across sandboxes. Throws `HSM_STORE_BUSY` or `HSM_STORE_WRITE`.
 */
export async function lockStore(home: string): Promise<FileHandle> {
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW
  const handle = await open(path.join(home, 'lock'), flags, 0o600).catch(cause => {
    throw new HsmError('HSM_STORE_WRITE', 'the lock of the HSM VM could not be opened', { cause })
  })
  try {
    const status = await flock(handle.fd)
    if (status === 0) return handle
    throw status === takenStatus
      ? new HsmError('HSM_STORE_BUSY', 'another process serves from this directory')
      : new HsmError('HSM_STORE_WRITE', `flock ended with status ${status}`)
  } catch (error) {
    await handle.close()
    throw error
  }
}

function flock(fd: number): Promise<number | null> {
  return new Promise((resolve, reject) => {
    const child = spawn('flock', ['--exclusive', '--nonblock', '3'], {
      stdio: ['ignore', 'ignore', 'ignore', fd],
    })
    child.once('error', cause =>
      reject(new HsmError('HSM_STORE_WRITE', 'flock of util-linux could not be started', { cause })),
    )
    child.once('close', resolve)
  })
}
