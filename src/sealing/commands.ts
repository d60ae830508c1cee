import { readdir } from 'node:fs/promises'
import path from 'node:path'
import type { Clock } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import { makePrivateDirectory, writeDurably } from '../base/files.ts'
import type { Digest } from '../base/names.ts'
import type { Secret } from '../base/secret.ts'
import { describeDifference } from './difference.ts'
import { nodeDisk } from './disk.ts'
import { readDraft } from './draft.ts'
import { SealError } from './errors.ts'
import { readFloor, writeFloor } from './floor.ts'
import { generationOf, readGeneration, sweepGenerations, writeGeneration } from './generation.ts'
import { type SealInitOptions, type SealInitResult, sealInit } from './initialise.ts'
import { reportingIo } from './io.ts'
import { isKeyFileEncrypted, readKeyFile } from './key-file.ts'
import { readPin } from './pin.ts'
import type { SealReport } from './show.ts'
import { planSeal, signPlan } from './sign.ts'
import type { SealSigner } from './signer.ts'
import { encodeUpdate } from './update.ts'
import { floorOf, verifyStore } from './verify.ts'
import { sealWorkspace, updateFile, wholeFile } from './workspace.ts'

/* `strongroom seal init` and `sign`, without argument parsing and terminals; `show` and `verify` are in `show.ts`. */

/** `strongroom seal init` */
export async function initCommand(
  options: SealInitOptions,
  signal: AbortSignal,
): Promise<SealReport<SealInitResult>> {
  const result = await sealInit(options, signal)
  const workspace = sealWorkspace(options.directory)
  return {
    result,
    text: [
      `root      ${result.rootDigest}`,
      ...result.keyFiles.map(({ role, file, id }) => `key       ${role}: ${id.slice(0, 16)}… in ${file}`),
      `pin       ${workspace.pin}: belongs on every machine that is to trust this root`,
      `draft     ${workspace.draft}: put the configuration here, then seal it`,
    ],
  }
}

export interface SealSignOptions {
  readonly directory: string
  readonly expires: Date
  readonly renew: boolean
  readonly clock: Clock
  /** Signers besides the key files of the workspace: tokens, for example. */
  readonly signers?: readonly SealSigner[]
  /** Asked once for each encrypted key file; the caller keeps and disposes what it returns. */
  readonly passphrase: (file: string) => Promise<Secret>
  /** Refuses a draft by throwing a `CodedError`, before anyone is asked. */
  readonly validate: (files: ReadonlyMap<string, Uint8Array>) => unknown
  /** Shown the difference; only `true` signs. */
  readonly confirm: (difference: readonly string[]) => Promise<boolean>
}

export interface SealSignResult {
  readonly version: number
  readonly digest: Digest
  readonly expires: string
  readonly roles: readonly string[]
  readonly update: string
}

/** `strongroom seal sign`: validates the draft, shows the difference, asks, signs, and writes the update. */
export async function signCommand(
  options: SealSignOptions,
  signal: AbortSignal,
): Promise<SealReport<SealSignResult>> {
  const workspace = sealWorkspace(options.directory)
  const pin = await readPin(workspace.pin)
  const installed = await readGeneration(workspace.store)
  if (installed.snapshot !== null)
    verifyStore(installed, pin, await readFloor(workspace.floor), options.clock.now())
  const files = await readDraft(workspace.draft)
  const { expires, renew } = options
  const plan = planSeal({ installed, nextRoot: null, pin, files, expires, renew, now: options.clock.now() })
  options.validate(files)
  const heading = `version ${plan.version}, expires ${expires.toISOString()}, signs ${[...plan.roles.keys()].join(', ')}`
  const difference = [heading, ...describeDifference(plan.present?.files ?? new Map(), files)]
  if (!(await options.confirm(difference)))
    throw new SealError('SEAL_DECLINED', 'not confirmed; nothing was signed')
  const signers = [...(options.signers ?? []), ...(await keyFileSigners(workspace.keys, options.passphrase))]
  const sealed = await signPlan(plan, signers, signal)
  const { version, digest } = sealed.configuration
  // The update first: a store that is ahead of its updates would leave every machine waiting for one that is nowhere.
  const update = updateFile(workspace, version)
  await reportingIo(() => makePrivateDirectory(workspace.updates))
  await reportingIo(() => writeDurably(update, sealed.update, 0o644))
  await reportingIo(() => writeDurably(wholeFile(workspace), encodeUpdate(sealed.files), 0o644))
  await writeGeneration(workspace.store, generationOf(version, digest), sealed.files, nodeDisk)
  await writeFloor(workspace.floor, floorOf(sealed.configuration))
  await sweepGenerations(workspace.store, nodeDisk)
  const roles = [...plan.roles.keys()]
  return {
    result: { version, digest, expires: sealed.configuration.expires.toISOString(), roles, update },
    text: [`sealed    version ${version}, ${digest}`, `update    ${update}`],
  }
}

async function keyFileSigners(
  directory: string,
  passphrase: (file: string) => Promise<Secret>,
): Promise<readonly SealSigner[]> {
  const signers: SealSigner[] = []
  const names = await reportingIo(() => readdir(directory))
  for (const name of names.filter(one => one.endsWith('.pem')).sort()) {
    const file = path.join(directory, name)
    signers.push(
      await readKeyFile(file, (await isKeyFileEncrypted(file)) ? await passphrase(printable(file)) : null),
    )
  }
  return signers
}
