import { closeSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'

const closeOnExec = 0o2000000

/**
 * Closes what whoever started this process has left open beyond standard input, output and error: it would be passed on
 * through every wall. To be called first. All that Node opens by itself is closed by the kernel when a program starts.
 */
export async function closeInherited(): Promise<void> {
  for (const name of await readdir('/proc/self/fd')) {
    const descriptor = Number(name)
    if (descriptor <= 2) continue
    const info = await readFile(`/proc/self/fdinfo/${name}`, 'latin1').catch(() => null)
    const flags = Number.parseInt(/^flags:\s*(\d+)$/m.exec(info ?? '')?.[1] ?? '', 8)
    if (!Number.isNaN(flags) && (flags & closeOnExec) === 0) closeSync(descriptor)
  }
}
