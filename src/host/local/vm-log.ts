import { mkdir, open } from 'node:fs/promises'
import path from 'node:path'
import { type Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Log } from '../../base/log.ts'
import type { VmName } from '../../base/names.ts'

/**
 * Appends what a VM says to `<directory>/<vm>.log`, mode 0600. The file is the host's: a VM that held it open could empty
 * it. Resolves when all has been said and written; never rejects: a disk that is full stops no VM.
 */
export async function keepLog(
  directory: string,
  vm: VmName,
  said: readonly (Readable | null)[],
  log: Log,
): Promise<void> {
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 })
    await using handle = await open(path.join(directory, `${vm}.log`), 'a', 0o600)
    const append = () =>
      new Writable({
        write(part, _encoding, done) {
          // What cannot be written is lost; the VM goes on.
          handle.appendFile(part).then(
            () => done(),
            error => {
              log.warn('the log of a VM could not be written', { vm, error })
              done()
            },
          )
        },
      })
    await Promise.allSettled(said.filter(one => one !== null).map(one => pipeline(one, append())))
  } catch (error) {
    log.warn('the log of a VM could not be opened', { vm, error })
    for (const one of said) one?.resume()
  }
}
