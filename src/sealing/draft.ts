import { constants, existsSync } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import path from 'node:path'
import { utf8 } from '../base/bytes.ts'
import { printable } from '../base/errors.ts'
import { makePrivateDirectory, writeDurably } from '../base/files.ts'
import { SealError } from './errors.ts'
import { reportingIo } from './io.ts'
import { isSealedPath } from './paths.ts'
import { sealedFileBytesMax, sealedFilesMax } from './role.ts'
import { offeredPaths, standardRoles } from './standard-roles.ts'

/* The draft: plain files in folders named as in the sealed configuration, for any editor. */

const readme = 'README.md'
const draftFilesMax = sealedFilesMax * Object.keys(standardRoles).length

/** Makes the folders and a README that says what belongs where. */
export async function createDraft(directory: string): Promise<void> {
  await reportingIo(async () => {
    await makePrivateDirectory(directory)
    for (const limit of offeredPaths)
      if (limit.endsWith('/')) await makePrivateDirectory(path.join(directory, limit))
    await writeDurably(path.join(directory, readme), utf8(readmeText()), 0o600)
  })
}

/**
 * Every file below `directory` by its path, without the README at the top and without names that begin with a dot.
 * Throws `SEAL_DRAFT_INVALID` for links, odd names and files that are too large; `SEAL_IO`.
 */
export async function readDraft(directory: string): Promise<ReadonlyMap<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>()
  if (!existsSync(directory))
    throw new SealError('SEAL_DRAFT_INVALID', `there is no draft at ${printable(directory)}`, {
      hint: `strongroom seal show --out ${printable(directory)} makes one of what is sealed`,
    })
  await reportingIo(() => readFolder(directory, '', files, draftFilesMax))
  return new Map([...files].sort(([one], [other]) => (one < other ? -1 : 1)))
}

/** `countMax`: of all files so far. A folder at the top belongs to one role, and holds what that may hold. */
async function readFolder(
  directory: string,
  folder: string,
  files: Map<string, Uint8Array>,
  countMax: number,
): Promise<void> {
  for (const entry of await readdir(path.join(directory, folder), { withFileTypes: true })) {
    const name = folder + entry.name
    if (entry.name.startsWith('.') || name === readme) continue
    if (!isSealedPath(name)) throw invalid(name, 'is not a name that can be sealed')
    if (entry.isDirectory())
      await readFolder(directory, `${name}/`, files, folder === '' ? files.size + sealedFilesMax : countMax)
    else if (!entry.isFile()) throw invalid(name, 'is neither a file nor a folder')
    else if (files.size >= countMax)
      throw invalid(name, `would be more than ${sealedFilesMax} files of one role`)
    else files.set(name, await readDraftFile(path.join(directory, name), name))
  }
}

async function readDraftFile(file: string, name: string): Promise<Uint8Array> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW)
  try {
    const { size } = await handle.stat()
    if (size > sealedFileBytesMax)
      throw invalid(name, `has ${size} bytes; at most ${sealedFileBytesMax} can be sealed`)
    return new Uint8Array(await handle.readFile())
  } finally {
    await handle.close()
  }
}

function invalid(name: string, found: string): SealError {
  return new SealError('SEAL_DRAFT_INVALID', `draft: '${printable(name).slice(0, 200)}' ${found}`)
}

function readmeText(): string {
  const rows = Object.entries(standardRoles).flatMap(([role, limits]) => {
    const offered = limits.filter(limit => offeredPaths.includes(limit))
    return offered.length === 0 ? [] : [`- ${offered.join(', ')}: sealed by the role \`${role}\``]
  })
  return `# Draft of the sealed configuration

Edit the files here, then run \`strongroom seal sign\`, or \`strongroom seal propose\` when others hold keys that have to sign. Both
show what would change before anything is signed.

${rows.join('\n')}

This file and names that begin with a dot are not sealed.
`
}
