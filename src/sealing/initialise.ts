import path from 'node:path'
import type { Entropy } from '../base/environment.ts'
import { makePrivateDirectory, writeDurably } from '../base/files.ts'
import type { Digest } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import { sha256Hex } from '../crypto/digest.ts'
import { nodeDisk } from './disk.ts'
import { createDraft } from './draft.ts'
import { SealError } from './errors.ts'
import { generationOf, hasGeneration, writeGeneration } from './generation.ts'
import { reportingIo } from './io.ts'
import { createKeyFile, type KeyFileSigner } from './key-file.ts'
import { encodePin } from './pin.ts'
import type { Custody, RootRole } from './root.ts'
import { signFirstRoot } from './sign.ts'
import { standardRoles } from './standard-roles.ts'
import { sealWorkspace } from './workspace.ts'

/** How many keys a role gets, and how many of them must sign. */
export interface RoleKeys {
  readonly count: number
  readonly threshold: number
}

export interface SealInitOptions {
  readonly directory: string
  readonly custody: Exclude<Custody, 'discarded'>
  readonly expires: Date
  /** Encrypts every key file; `null` leaves them in clear, mode 0600. */
  readonly passphrase: Secret | null
  readonly entropy: Entropy
  /** For roles that need more than one key; each other role has one. */
  readonly keys?: Readonly<Record<string, RoleKeys>>
}

export interface SealInitResult {
  readonly rootDigest: Digest
  /** Of each key made. */
  readonly keyFiles: readonly { readonly role: string; readonly file: string; readonly id: Digest }[]
}

const oneKey: RoleKeys = { count: 1, threshold: 1 }
/** With split custody no single person can change the root, and one lost key of three loses nothing. */
const splitRootKeys: RoleKeys = { count: 3, threshold: 2 }

/** Makes keys, the first root, its pin, and an empty draft. Nothing is sealed yet. Throws `SEAL_EXISTS`. */
export async function sealInit(options: SealInitOptions, signal: AbortSignal): Promise<SealInitResult> {
  const workspace = sealWorkspace(options.directory)
  if (await hasGeneration(workspace.store))
    throw new SealError('SEAL_EXISTS', `there is a sealed store in ${workspace.store} already`)
  await reportingIo(() => makePrivateDirectory(workspace.keys))
  const made: { role: string; file: string; signer: KeyFileSigner }[] = []
  const roles = new Map<string, RootRole>()
  for (const [role, paths] of Object.entries({ root: [], snapshot: [], ...standardRoles })) {
    const { count, threshold } = keysFor(role, options)
    const keys: Digest[] = []
    for (let index = 1; index <= count; index++) {
      const file = path.join(workspace.keys, count === 1 ? `${role}.pem` : `${role}-${index}.pem`)
      const signer = await createKeyFile(file, options.passphrase, options.entropy)
      made.push({ role, file, signer })
      keys.push(signer.publicKey.id)
    }
    roles.set(role, { keys, threshold, paths })
  }
  const signers = made.map(({ signer }) => signer)
  const root = await signFirstRoot(
    {
      custody: options.custody,
      expires: options.expires,
      keys: new Map(signers.map(({ publicKey }) => [publicKey.id, publicKey])),
      roles,
    },
    signers,
    signal,
  )
  const rootDigest = sha256Hex(root)
  await createDraft(workspace.draft)
  await reportingIo(() => writeDurably(workspace.pin, encodePin({ version: 1, digest: rootDigest }), 0o644))
  const files = { roots: new Map([[1, root]]), snapshot: null, roles: new Map() }
  await writeGeneration(workspace.store, generationOf(0, rootDigest), files, nodeDisk)
  const keyFiles = made.map(({ role, file, signer }) => ({ role, file, id: signer.publicKey.id }))
  return { rootDigest, keyFiles }
}

function keysFor(role: string, { custody, keys }: SealInitOptions): RoleKeys {
  return keys?.[role] ?? (role === 'root' && custody === 'split' ? splitRootKeys : oneKey)
}
