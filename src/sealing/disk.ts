import { open, rename, rm, symlink } from 'node:fs/promises'
import { makePrivateDirectory, syncDirectory } from '../base/files.ts'

/**
 * The operations that change a store on disk, each one step; a test lets the n-th of them fail. Signed is not public: the
 * profiles name the VMs that are backed up, so nobody else reads a store.
 */
export interface StoreDisk {
  makeDirectory(directory: string): Promise<void>
  /** Makes a new file, synced. */
  write(file: string, bytes: Uint8Array): Promise<void>
  sync(directory: string): Promise<void>
  link(target: string, file: string): Promise<void>
  rename(from: string, to: string): Promise<void>
  /** With everything below; nothing there is no error. */
  remove(path: string): Promise<void>
}

export const nodeDisk: StoreDisk = {
  makeDirectory: async directory => {
    await makePrivateDirectory(directory)
  },
  write: async (file, bytes) => {
    const handle = await open(file, 'wx', 0o600)
    try {
      await handle.writeFile(bytes)
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
  sync: syncDirectory,
  link: symlink,
  rename,
  remove: path => rm(path, { recursive: true, force: true }),
}
