import { rm } from 'node:fs/promises'
import path from 'node:path'
import type { Entropy } from '../../base/environment.ts'
import { printable } from '../../base/errors.ts'
import { makePrivateDirectory, writeDurably } from '../../base/files.ts'
import type { Digest } from '../../base/names.ts'
import { nodeDisk } from '../disk.ts'
import { createDraft } from '../draft.ts'
import { SealError } from '../errors.ts'
import { generationOf, hasGeneration, writeGeneration } from '../generation.ts'
import { reportingIo } from '../io.ts'
import {
  createKeyFile,
  encryptedKeyFileEnding,
  type KeyFileSigner,
  type KeyProtection,
  keyFileEnding,
} from '../key-file.ts'
import { type PublicKey, shortId } from '../keys.ts'
import { encodePin } from '../pin.ts'
import { type Custody, ownerRole, publishers, type RootRole } from '../root.ts'
import { signFirstRoot } from '../root-candidate.ts'
import type { SealReport } from '../show.ts'
import { standardRoles } from '../standard-roles.ts'
import { sealWorkspace } from '../workspace.ts'

/* `strongroom seal init`: the first root. */

export interface SealInitOptions {
  readonly directory: string
  readonly custody: Exclude<Custody, 'discarded'>
  readonly expires: Date
  /** Of every key file that is made; `null` leaves them in clear, mode 0600. */
  readonly protection: KeyProtection | null
  readonly entropy: Entropy
  /** Keys that others hold, by role. Such a role gets no key made here. */
  readonly holders?: ReadonlyMap<string, readonly PublicKey[]>
  /** How many must sign; otherwise two of several for a split root, and one. */
  readonly thresholds?: ReadonlyMap<string, number>
  /** Without one, nobody can take a machine out of the sealed state again. */
  readonly withOwner?: boolean
}

export interface SealInitResult {
  readonly rootDigest: Digest
  /** Of each key made. */
  readonly keyFiles: readonly { readonly role: string; readonly file: string; readonly id: Digest }[]
  /** Roles whose holders are elsewhere. */
  readonly elsewhere: readonly string[]
}

/** With split custody no single person can change the root, and one lost key of three loses nothing. */
const splitRootKeys = 3
const splitRootThreshold = 2

/** Makes keys, the first root, its pin, and an empty draft. Nothing is sealed yet. Throws `SEAL_EXISTS`. */
export async function initCommand(
  options: SealInitOptions,
  signal: AbortSignal,
): Promise<SealReport<SealInitResult>> {
  const { directory, holders = new Map(), thresholds = new Map(), withOwner = true } = options
  const workspace = sealWorkspace(directory)
  if (await hasGeneration(workspace.store))
    throw new SealError('SEAL_EXISTS', `there is a sealed store in ${workspace.store} already`)
  const held = ['root', ...(withOwner ? [ownerRole] : []), ...Object.keys(standardRoles)]
  for (const role of [...holders.keys(), ...thresholds.keys()])
    if (!held.includes(role))
      throw new SealError('SEAL_ROOT_INVALID', `there is no role '${printable(role)}' to hold`, {
        hint: `the roles are ${held.join(', ')}`,
      })
  await reportingIo(() => makePrivateDirectory(workspace.keys))
  const made: MadeKey[] = []
  try {
    return await makeRoot(options, held, made, signal)
  } catch (cause) {
    // No root names them: left behind, they would be in the way of the next try.
    for (const { file } of made) await reportingIo(() => rm(file, { force: true }))
    throw cause
  }
}

interface MadeKey {
  readonly role: string
  readonly file: string
  readonly signer: KeyFileSigner
}

async function makeRoot(
  options: SealInitOptions,
  held: readonly string[],
  made: MadeKey[],
  signal: AbortSignal,
): Promise<SealReport<SealInitResult>> {
  const { directory, custody, expires, holders = new Map() } = options
  const workspace = sealWorkspace(directory)
  const roles = new Map<string, RootRole>()
  const keys = new Map<Digest, PublicKey>()
  for (const role of held) {
    const own: readonly PublicKey[] =
      holders.get(role) ?? (await makeKeys(role, options, workspace.keys, made))
    for (const key of own) keys.set(key.id, key)
    roles.set(role, roleOf(role, own, options))
  }
  roles.set('snapshot', publishers(roles))
  const signers = made.map(({ signer }) => signer)
  const { bytes, digest } = await signFirstRoot({ custody, expires, keys, roles }, signers, signal)
  await createDraft(workspace.draft)
  await reportingIo(() => writeDurably(workspace.pin, encodePin({ version: 1, digest }), 0o644))
  const files = { roots: new Map([[1, bytes]]), snapshot: null, roles: new Map() }
  await writeGeneration(workspace.store, generationOf(0, digest), files, nodeDisk)
  const keyFiles = made.map(({ role, file, signer }) => ({ role, file, id: signer.publicKey.id }))
  const result = { rootDigest: digest, keyFiles, elsewhere: [...holders.keys()] }
  return { result, text: described(result, roles, workspace) }
}

async function makeKeys(
  role: string,
  { custody, protection, entropy }: SealInitOptions,
  directory: string,
  made: MadeKey[],
): Promise<readonly PublicKey[]> {
  const count = role === 'root' && custody === 'split' ? splitRootKeys : 1
  const ending = protection === null ? keyFileEnding : encryptedKeyFileEnding
  const keys: PublicKey[] = []
  for (let index = 1; index <= count; index++) {
    const file = path.join(directory, `${count === 1 ? role : `${role}-${index}`}${ending}`)
    const signer = await createKeyFile(file, protection, entropy)
    made.push({ role, file, signer })
    keys.push(signer.publicKey)
  }
  return keys
}

function roleOf(
  role: string,
  keys: readonly PublicKey[],
  { custody, thresholds }: SealInitOptions,
): RootRole {
  const usual = role === 'root' && custody === 'split' ? splitRootThreshold : 1
  const paths = new Map<string, readonly string[]>(Object.entries(standardRoles)).get(role) ?? []
  return { keys: keys.map(({ id }) => id), threshold: thresholds?.get(role) ?? usual, paths }
}

function described(
  { rootDigest, keyFiles, elsewhere }: SealInitResult,
  roles: ReadonlyMap<string, RootRole>,
  workspace: ReturnType<typeof sealWorkspace>,
): readonly string[] {
  const brittle = [...roles].filter(([, { keys, threshold }]) => keys.length > 1 && threshold === keys.length)
  return [
    `root      ${rootDigest}`,
    ...keyFiles.map(({ role, file, id }) => `key       ${role}: ${shortId(id)}… in ${file}`),
    ...elsewhere.map(role => `elsewhere ${role}: its holders sign on machines of their own`),
    ...brittle.map(
      ([role, { keys }]) =>
        `careful   ${role} needs all of its ${keys.length} keys: one that is lost cannot be replaced`,
    ),
    ...(roles.has(ownerRole)
      ? []
      : ['careful   no owner key: what is sealed cannot be taken out of that state by anyone but the root']),
    `pin       ${workspace.pin}: belongs on every machine that is to trust this root`,
    `draft     ${workspace.draft}: put the configuration here`,
    elsewhere.length === 0
      ? 'next      strongroom seal sign'
      : 'next      strongroom seal propose, and pass the file around',
  ]
}
