import { spawn } from 'node:child_process'
import { errnoOf, printable } from '../base/errors.ts'
import { SealError } from './errors.ts'

/* The one file of the seal's process that starts a program: Debian's mkfs.erofs (erofs-utils), by its absolute path. */

const program = '/usr/bin/mkfs.erofs'
const saidLengthMax = 1000

/**
 * Makes an EROFS image of what is below `directory`, without its times, owners and attributes; both paths are absolute.
 * Returns the name and version that the program gives itself. Throws `SEAL_IMAGE_TOOL`, or the signal's reason.
 */
export async function makeErofs(
  image: string,
  directory: string,
  uuid: string,
  signal: AbortSignal,
): Promise<string> {
  signal.throwIfAborted()
  const child = spawn(program, ['-T0', '-U', uuid, '--all-root', '-x-1', image, directory], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { LC_ALL: 'C', PATH: '/usr/sbin:/usr/bin:/sbin:/bin' },
    cwd: '/',
  })
  const kill = () => child.kill('SIGKILL')
  signal.addEventListener('abort', kill)
  const said = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].on('data', (part: Buffer) => {
      if (said[name].length < saidLengthMax) said[name] += part.toString('latin1')
    })
  try {
    const fault = await new Promise<string | null>(resolve => {
      child.once('error', error => resolve(`cannot be started (${errnoOf(error)})`))
      child.once('close', (status, killed) =>
        resolve(status === 0 ? null : `ended with ${killed ?? `status ${status}`}: ${said.stderr.trim()}`),
      )
    })
    signal.throwIfAborted()
    if (fault !== null) throw new SealError('SEAL_IMAGE_TOOL', printable(`${program} ${fault}`))
    return /^mkfs\.erofs [\w.~+-]{1,40}/.exec(said.stdout)?.[0] ?? 'mkfs.erofs'
  } finally {
    signal.removeEventListener('abort', kill)
  }
}
