import { utf8, view } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { verifyRoots } from './chain.ts'
import { envelopeBytesMax } from './envelope.ts'
import { SealError } from './errors.ts'
import type { RootPin } from './pin.ts'
import { contentRoles } from './root.ts'
import {
  namedFiles,
  parseStoreFileName,
  rootFile,
  type StoreFiles,
  storeFiles,
  storeFilesMax,
} from './store-files.ts'

/*
 * An update is one file that may travel through anyone's hands: a line `strongroom update 1`, then a line for each
 * changed file of the store, its name, a space, and its envelope (which is one line). It has no authority of its own:
 * what counts is verified in the store that results. A whole store in this form is what a new machine is given.
 */

const header = 'strongroom update 1\n'
export const updateBytesMax = 64 * 1024 * 1024
const nameLengthMax = 60
const lineEnd = 0x0a
const space = 0x20

export function encodeUpdate(files: StoreFiles): Uint8Array {
  return encodeNamed(header, files)
}

export function encodeNamed(header: string, files: StoreFiles): Uint8Array {
  const lines = namedFiles(files).map(([name, bytes]) => Buffer.concat([utf8(`${name} `), bytes]))
  return new Uint8Array(Buffer.concat([utf8(header), ...lines]))
}

/** Throws `SEAL_TOO_LARGE`, `SEAL_UPDATE_MALFORMED`. Nothing in what it returns is verified. */
export function parseUpdate(untrustedBytes: Uint8Array): StoreFiles {
  return parseNamed(header, untrustedBytes)
}

export function parseNamed(header: string, untrustedBytes: Uint8Array): StoreFiles {
  if (untrustedBytes.byteLength > updateBytesMax)
    throw new SealError(
      'SEAL_TOO_LARGE',
      `an update of ${untrustedBytes.byteLength} bytes; at most ${updateBytesMax}`,
    )
  const bytes = view(untrustedBytes)
  const kind = header.startsWith('strongroom proposal') ? 'a proposal' : 'an update'
  const malformed = (found: string) => new SealError('SEAL_UPDATE_MALFORMED', `not ${kind}: ${found}`)
  if (bytes.subarray(0, header.length).toString('latin1') !== header)
    throw malformed(`it does not begin with '${header.trim()}'`)
  const named = new Map<string, Uint8Array>()
  for (let at = header.length; at < bytes.byteLength; ) {
    const nameEnd = bytes.indexOf(space, at)
    if (nameEnd < 0 || nameEnd - at > nameLengthMax) throw malformed(`no name at byte ${at}`)
    const name = bytes.subarray(at, nameEnd).toString('latin1')
    const end = bytes.indexOf(lineEnd, nameEnd)
    if (end < 0) throw malformed(`no end of the line at byte ${at}`)
    if (end - nameEnd > envelopeBytesMax)
      throw new SealError('SEAL_TOO_LARGE', `${printable(name)}: too large`)
    if (parseStoreFileName(name) === null) throw malformed(`unknown file '${printable(name)}'`)
    if (named.has(name)) throw malformed(`'${name}' occurs twice`)
    if (named.size === storeFilesMax) throw malformed(`more than ${storeFilesMax} files`)
    named.set(name, new Uint8Array(bytes.subarray(nameEnd + 1, end + 1)))
    at = end + 1
  }
  return storeFiles(named)
}

/**
 * The store that would result, yet to be verified as a whole. A root that is installed already may be repeated, never
 * replaced; roles that a newer root has dropped are left out.
 */
export function applyUpdate(installed: StoreFiles, update: StoreFiles, pin: RootPin): StoreFiles {
  requireInstalledRoots(installed, update)
  const roots = new Map([...installed.roots, ...update.roots])
  const roles = contentRoles(verifyRoots(roots, pin).root)
  const kept = [...installed.roles].filter(([role]) => roles.includes(role))
  return {
    roots,
    snapshot: update.snapshot ?? installed.snapshot,
    roles: new Map([...kept, ...update.roles]),
  }
}

/** That roots which are installed are repeated as they are, if at all. */
export function requireInstalledRoots(installed: StoreFiles, { roots }: StoreFiles): void {
  for (const [version, bytes] of roots) {
    const present = installed.roots.get(version)
    if (present !== undefined && !view(present).equals(bytes))
      throw new SealError('SEAL_FORKED', `${rootFile(version)}: another root of this version is installed`)
  }
}

/** What of `next` is not in `installed`: the content of the update between them. */
export function changedFiles(installed: StoreFiles, next: StoreFiles): StoreFiles {
  const before = new Map(namedFiles(installed))
  return storeFiles(
    namedFiles(next).filter(([name, bytes]) => {
      const present = before.get(name)
      return present === undefined || !view(present).equals(bytes)
    }),
  )
}
