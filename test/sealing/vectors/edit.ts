import type { StoreFiles } from '../../../src/sealing/store-files.ts'

export function replaced(
  files: StoreFiles,
  file: string,
  change: (bytes: Uint8Array) => Uint8Array,
): StoreFiles {
  if (file === 'snapshot.json') return { ...files, snapshot: change(files.snapshot ?? new Uint8Array()) }
  const role = /^roles\/(.*)\.json$/.exec(file)?.[1]
  if (role !== undefined)
    return {
      ...files,
      roles: new Map(files.roles).set(role, change(files.roles.get(role) ?? new Uint8Array())),
    }
  const version = Number.parseInt(file, 10)
  return {
    ...files,
    roots: new Map(files.roots).set(version, change(files.roots.get(version) ?? new Uint8Array())),
  }
}

/** Changes the first character after `mark`, to another of the same alphabet. */
export function flipAfter(mark: string) {
  return (bytes: Uint8Array): Uint8Array => {
    const at = Buffer.from(bytes).indexOf(mark) + mark.length
    const changed = Uint8Array.from(bytes)
    changed[at] = bytes[at] === 0x62 ? 0x63 : 0x62 // b, else c: both are hex and base64
    return changed
  }
}
