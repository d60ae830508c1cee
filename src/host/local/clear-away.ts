import { execFile } from 'node:child_process'
import { readdir, rename } from 'node:fs/promises'
import path from 'node:path'
import { promisify } from 'node:util'
import { errnoOf } from '../../base/errors.ts'
import type { Log } from '../../base/log.ts'

const run = promisify(execFile)
const asidePrefix = '.gone-'

/**
 * Makes room where a VM had a directory of its own to fill. The directory is renamed, which nothing in it can prevent;
 * what was in it is then removed as far as that goes, by tools that paths of any length do not stop. What stays is tried
 * again with the next.
 */
export async function clearAway(directory: string, log: Log): Promise<void> {
  const parent = path.dirname(directory)
  if (!(await setAside(directory))) return
  for (const name of (await readdir(parent)).filter(one => one.startsWith(asidePrefix)))
    await removeTree(path.join(parent, name)).catch(error =>
      log.warn('what a VM has left could not be removed', { directory: name, error }),
    )
}

/** `false`: there was nothing. */
async function setAside(directory: string): Promise<boolean> {
  const base = path.join(path.dirname(directory), `${asidePrefix}${path.basename(directory)}`)
  for (let count = 0; ; count++)
    try {
      await rename(directory, `${base}-${count}`)
      return true
    } catch (error) {
      const errno = errnoOf(error)
      if (errno === 'ENOENT') return false
      if (errno !== 'ENOTEMPTY' && errno !== 'EEXIST') throw error
    }
}

async function removeTree(directory: string): Promise<void> {
  // A VM may have taken away its own permission to look into what it made.
  await run('chmod', ['-R', 'u+rwx', '--', directory]).catch(() => {})
  await run('rm', ['-rf', '--', directory])
}
