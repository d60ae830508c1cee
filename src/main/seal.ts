import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { equalConstantTime } from '../base/bytes.ts'
import { systemClock, systemEntropy } from '../base/environment.ts'
import { printable } from '../base/errors.ts'
import { readBounded } from '../base/files.ts'
import type { Secret } from '../base/secret.ts'
import { tokenSigner } from '../hsm/seal-signer.ts'
import type { TokenProcess } from '../hsm/token-process.ts'
import { parseConfiguration } from '../profiles/config.ts'
import { discardCommand } from '../sealing/ceremony/discard.ts'
import { initCommand } from '../sealing/ceremony/init.ts'
import { initDiscardedCommand } from '../sealing/ceremony/init-discarded.ts'
import { keyCommand, tokenKeyCommand } from '../sealing/ceremony/key.ts'
import type { KeysAtHand } from '../sealing/ceremony/keys-at-hand.ts'
import { mergeCommand } from '../sealing/ceremony/merge.ts'
import { proposeCommand } from '../sealing/ceremony/propose.ts'
import { replaceStore } from '../sealing/ceremony/replace.ts'
import { reviewCommand } from '../sealing/ceremony/review.ts'
import { revokeCommand, rotateCommand } from '../sealing/ceremony/rotate.ts'
import { signCommand, signProposalCommand } from '../sealing/ceremony/sign.ts'
import { statusCommand } from '../sealing/ceremony/status.ts'
import { readUnsealing, unsealCommand } from '../sealing/ceremony/unseal.ts'
import { SealError } from '../sealing/errors.ts'
import { sealedPlace } from '../sealing/place.ts'
import { readPublicKey } from '../sealing/public-key-file.ts'
import { type SealPlace, showCommand, verifyCommand } from '../sealing/show.ts'
import { FileSealedStore } from '../sealing/store.ts'
import { sealWorkspace } from '../sealing/workspace.ts'
import { sealUsage } from '../usage/seal.ts'
import { askSecret, askYes } from './ask.ts'
import { type Answer, missing, runCommand } from './command-line.ts'
import { roleCommand } from './role-command.ts'
import { expiryOf, roleKeys, rolePairs, thresholdsOf } from './seal-arguments.ts'
import { sealImage } from './seal-image.ts'
import { sealedPolicy, storeOptions } from './sealed-configuration.ts'
import { moduleEnvironment, openToken, tokenPin } from './token.ts'

/* Ceremonies on a superadmin's machine, or on any holder's. */

const updateBytesMax = 64 * 1024 * 1024

const { values, positionals } = parseArgs({ allowPositionals: true, options: sealUsage.options })
const { dir = 'seal', yes = false } = values
const [, ...operands] = positionals
const clock = systemClock
const common = { directory: dir, clock }

const commands: Record<keyof typeof sealUsage.commands, (signal: AbortSignal) => Promise<Answer>> = {
  init,
  key,
  propose: async () =>
    proposeCommand({ ...common, expires: expiryOf(values.expires), renew: values.renew ?? false, validate }),
  review: async () => reviewCommand({ ...common, file: operand('PROPOSAL'), validate }),
  sign,
  merge: async () => mergeCommand({ ...common, file: operand('PROPOSAL'), others: operands.slice(1) }),
  'rotate-root': rotateRoot,
  revoke,
  discard: async signal =>
    discardCommand(
      {
        ...common,
        entropy: systemEntropy,
        keep: values.keep ?? [],
        withOwner: !values['without-owner-key'],
      },
      signal,
    ),
  unseal,
  status: async () => statusCommand(dir, clock),
  show: async () => showCommand({ ...place(), clock, out: values.out }),
  verify: async () => verifyCommand({ ...place(), clock }),
  install,
  image: signal => sealImage(values, operands[0], { ...place(), clock }, signal),
}
const command = roleCommand(sealUsage, values.help, positionals)
if (command !== null) await runCommand(values.json, commands[command])

async function init(signal: AbortSignal): Promise<Answer> {
  const holders = Map.groupBy(await roleKeys('holder', values.holder), ({ role }) => role)
  using passphrase = values['no-passphrase'] ? null : await newPassphrase()
  const shared = {
    directory: dir,
    protection: passphrase === null ? null : { passphrase },
    entropy: systemEntropy,
    holders: new Map([...holders].map(([role, held]) => [role, held.map(({ key: one }) => one)])),
    thresholds: thresholdsOf(values.threshold),
    withOwner: !values['without-owner-key'],
  }
  // Awaited here: the passphrase ends with this block.
  if (values.custody === 'discarded')
    return await initDiscardedCommand(
      { ...shared, draft: values.draft ?? missing('--draft'), clock, validate },
      signal,
    )
  const custody = custodyOf(values.custody ?? 'superadmin')
  return await initCommand({ ...shared, custody, expires: expiryOf(values.expires) }, signal)
}

async function key(signal: AbortSignal): Promise<Answer> {
  const name = operand('NAME')
  using token = tokenAtHand()
  if (token !== null) {
    const { publicKey } = await tokenSigner(token, true, signal)
    return await tokenKeyCommand({ directory: dir, name, publicKey })
  }
  using passphrase = values['no-passphrase'] ? null : await newPassphrase()
  const protection = passphrase === null ? null : { passphrase }
  return await keyCommand({ directory: dir, name, protection, entropy: systemEntropy })
}

/** Typed twice: whoever mistypes what cannot be seen would never open the keys again. */
async function newPassphrase(): Promise<Secret> {
  const passphrase = await askSecret('Passphrase for the key files')
  using again = await askSecret('The same passphrase again')
  const same = passphrase.expose(one => again.expose(other => equalConstantTime(one, other)))
  if (same && passphrase.byteLength > 0) return passphrase
  passphrase.dispose()
  throw same
    ? new BaseError('FIELD_INVALID', 'an empty passphrase protects nothing', {
        hint: 'say --no-passphrase if the key files are to be unencrypted',
      })
    : new BaseError('FIELD_INVALID', 'the two passphrases differ; no keys were made', {
        hint: 'run the command again',
      })
}

async function sign(signal: AbortSignal): Promise<Answer> {
  using held = new DisposableStack()
  const keys = await keysAtHand(held, signal)
  const options = { ...common, ...keys, validate, confirm: confirming('Sign this?') }
  const [file] = operands
  if (file !== undefined) return await signProposalCommand({ ...options, file }, signal)
  const sealing = { ...options, expires: expiryOf(values.expires), renew: values.renew ?? false }
  return await signCommand(sealing, signal)
}

async function rotateRoot(): Promise<Answer> {
  const expires = expiryOf(values.expires)
  const change = {
    add: await roleKeys('add', values.add),
    remove: rolePairs('remove', values.remove).map(([role, id]) => ({ role, id })),
    thresholds: thresholdsOf(values.threshold),
    custody: values.custody === undefined ? null : custodyOf(values.custody),
    expires,
  }
  return rotateCommand({ ...common, expires, change })
}

async function revoke(): Promise<Answer> {
  const replacement = values.replace === undefined ? null : await readPublicKey(values.replace)
  return revokeCommand({ ...common, expires: expiryOf(values.expires), id: operand('KEY'), replacement })
}

async function unseal(signal: AbortSignal): Promise<Answer> {
  using held = new DisposableStack()
  const options = { ...common, ...(await keysAtHand(held, signal)), confirm: confirming('Unseal?') }
  const { pin: nextPin = missing('--pin'), out: file = 'unseal.json' } = values
  return await unsealCommand({ ...options, nextPin, file }, signal)
}

async function install(): Promise<Answer> {
  const machine = values.machine ?? dir
  const file = values.update ?? missing('--update')
  const update = await readBounded(file, updateBytesMax)
  if (update === null)
    throw new BaseError('FIELD_INVALID', `there is no file ${printable(file)}`, {
      hint: 'updates are in updates/ of the workspace where they were sealed',
    })
  if (values.unseal !== undefined) {
    const statement = await readUnsealing(values.unseal)
    return installed(await replaceStore({ directory: machine, statement, update, parseConfiguration, clock }))
  }
  const options = storeOptions(machine, clock)
  const present = await FileSealedStore.open(options).catch(error => {
    if (error instanceof SealError && error.code === 'SEAL_EMPTY') return null
    throw error
  })
  return installed(
    present === null
      ? (await FileSealedStore.install(options, update)).current()
      : await present.admit(update),
  )
}

function installed({ version, digest }: { version: number; digest: string }): Answer {
  return { result: { version, digest }, text: [`installed version ${version}, ${digest}`] }
}

/** Those of the workspace have one passphrase; each that is named may have its own. */
async function keysAtHand(held: DisposableStack, signal: AbortSignal): Promise<KeysAtHand> {
  let known: Secret | null = null
  const token = held.use(tokenAtHand())
  return {
    signers: token === null ? [] : [await tokenSigner(token, false, signal)],
    keyFiles: values.key ?? [],
    passphrase: async file => {
      const ask = async () => held.use(await askSecret(`Passphrase of ${path.basename(file)}`))
      if (values.key?.includes(file)) return await ask()
      known ??= await ask()
      return known
    },
  }
}

function tokenAtHand(): TokenProcess | null {
  const { token: label, module, 'pin-file': pinFile } = values
  if (label === undefined) return null
  return openToken({
    label,
    module,
    environment: moduleEnvironment(),
    pin: tokenPin(pinFile, 'PIN of the token: ', 'strongroom-pin'),
  })
}

function confirming(question: string): (text: readonly string[]) => Promise<boolean> {
  return async text => {
    if (yes) return true
    console.error(text.join('\n'))
    if (process.stdin.isTTY) return askYes(question)
    throw new SealError('SEAL_DECLINED', 'no terminal to ask on; nothing was signed', {
      hint: 'answer on a terminal; a script says --yes, after somebody has read what changes (strongroom seal review)',
    })
  }
}

function validate(files: ReadonlyMap<string, Uint8Array>): void {
  sealedPolicy(parseConfiguration(files))
}

function custodyOf(text: string): 'superadmin' | 'split' {
  if (text === 'superadmin' || text === 'split') return text
  throw new BaseError('FIELD_INVALID', '--custody is superadmin or split', {
    hint: 'to discard keys that are in use, run strongroom seal discard',
  })
}

function place(): Omit<SealPlace, 'clock'> {
  return values.machine === undefined ? sealWorkspace(dir) : sealedPlace(values.machine)
}

function operand(name: string): string {
  return operands[0] ?? missing(name)
}
