import { type FSWatcher, readdirSync, watch } from 'node:fs'
import path from 'node:path'
import type { Log } from '../../base/log.ts'

const directoriesMax = 200

/**
 * Calls `moved` soon after anything in `directory`, or below it, was written, made, renamed or removed, `directory` itself
 * included. Without promise: what the kernel does not tell (a store through a mapping, a write below the file system) is not
 * seen, and where nothing can be watched a line in the log says so. Whoever must know looks now and then as well.
 */
export function watchDirectory(directory: string, moved: () => void, log: Log): Disposable {
  // Node's own recursive watching loses a link that is renamed, and directories that take the place of others.
  let watchers: FSWatcher[] = []
  let isEnded = false
  let isComplaint = false
  const release = () => {
    for (const watcher of watchers) watcher.close()
    watchers = []
  }
  const arm = () => {
    release()
    for (const place of [path.dirname(directory), ...directoriesBelow(directory)])
      try {
        const watcher = watch(place, { persistent: false }, changed)
        watcher.on('error', changed)
        watchers.push(watcher)
      } catch (error) {
        if (!isComplaint) log.warn('a directory cannot be watched; it is looked at now and then', { error })
        isComplaint = true
      }
  }
  let isPending = false
  const changed = () => {
    if (isPending || isEnded) return
    isPending = true
    // Several at once are one. Watched anew before anybody looks, so that what comes after the look is seen.
    setImmediate(() => {
      isPending = false
      if (isEnded) return
      arm()
      moved()
    })
  }
  arm()
  return {
    [Symbol.dispose]() {
      isEnded = true
      release()
    },
  }
}

function directoriesBelow(directory: string): readonly string[] {
  const found = [directory]
  for (const place of found)
    try {
      for (const entry of readdirSync(place, { withFileTypes: true }))
        if (entry.isDirectory() && found.length < directoriesMax) found.push(path.join(place, entry.name))
    } catch {
      // Gone meanwhile, which the watcher of what is above tells.
    }
  return found
}
