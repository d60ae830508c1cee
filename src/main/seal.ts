import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { equalConstantTime } from '../base/bytes.ts'
import { systemClock, systemEntropy } from '../base/environment.ts'
import { readBounded } from '../base/files.ts'
import type { Secret } from '../base/secret.ts'
import { parseConfiguration } from '../profiles/config.ts'
import { initCommand, signCommand } from '../sealing/commands.ts'
import { SealError } from '../sealing/errors.ts'
import { showCommand, verifyCommand } from '../sealing/show.ts'
import { FileSealedStore } from '../sealing/store.ts'
import { sealWorkspace } from '../sealing/workspace.ts'
import { sealUsage } from '../usage/seal.ts'
import { askSecret, askYes } from './ask.ts'
import { type Answer, runCommand } from './command-line.ts'
import { roleCommand } from './role-command.ts'
import { sealedPlace, sealedPolicy, storeOptions } from './sealed-configuration.ts'

/* Ceremonies on a superadmin's machine: create, sign, look at and install the sealed configuration. */

const updateBytesMax = 64 * 1024 * 1024
const yearMilliseconds = 365 * 86_400_000

const { values, positionals } = parseArgs({ allowPositionals: true, options: sealUsage.options })
const { dir = 'seal', custody = 'superadmin' } = values

const commands: Record<keyof typeof sealUsage.commands, (signal: AbortSignal) => Promise<Answer>> = {
  init,
  sign,
  show,
  verify,
  install,
}
const command = roleCommand(sealUsage, values.help, positionals)
if (command !== null) await runCommand(values.json, commands[command])

async function init(signal: AbortSignal): Promise<Answer> {
  if (custody !== 'superadmin' && custody !== 'split')
    throw new BaseError('FIELD_INVALID', '--custody is superadmin or split')
  using passphrase = values['no-passphrase'] ? null : await newPassphrase()
  const options = {
    directory: dir,
    custody,
    expires: expires(),
    passphrase,
    entropy: systemEntropy,
  } as const
  // Awaited here: the passphrase ends with this block.
  return await initCommand(options, signal)
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
  let known: Secret | null = null
  return await signCommand(
    {
      directory: dir,
      expires: expires(),
      renew: values.renew ?? false,
      clock: systemClock,
      passphrase: async file => {
        known ??= held.use(await askSecret(`Passphrase of ${path.basename(file)}`))
        return known
      },
      validate: files => sealedPolicy(parseConfiguration(files)),
      confirm: async difference => {
        if (values.yes) return true
        console.error(difference.join('\n'))
        return askYes('Sign this?')
      },
    },
    signal,
  )
}

function show(): Promise<Answer> {
  return showCommand({ ...place(), clock: systemClock })
}

function verify(): Promise<Answer> {
  return verifyCommand({ ...place(), clock: systemClock })
}

async function install(): Promise<Answer> {
  const machine = values.machine ?? missing('--machine')
  const file = values.update ?? missing('--update')
  const update = await readBounded(file, updateBytesMax)
  if (update === null) throw new BaseError('FIELD_INVALID', `there is no file ${file}`)
  const options = storeOptions(machine, systemClock)
  const present = await FileSealedStore.open(options).catch(error => {
    if (error instanceof SealError && error.code === 'SEAL_EMPTY') return null
    throw error
  })
  const sealed =
    present === null
      ? (await FileSealedStore.install(options, update)).current()
      : await present.admit(update)
  const { version, digest } = sealed
  return { result: { version, digest }, text: [`installed  version ${version}, ${digest}`] }
}

function place(): ReturnType<typeof sealedPlace> {
  return values.machine === undefined ? sealWorkspace(dir) : sealedPlace(values.machine)
}

function expires(): Date {
  if (values.expires === undefined) return new Date(systemClock.now().getTime() + yearMilliseconds)
  const date = new Date(values.expires)
  if (Number.isNaN(date.getTime()))
    throw new BaseError('FIELD_INVALID', '--expires is a date like 2027-12-31')
  return date
}

function missing(option: string): never {
  throw new BaseError('FIELD_INVALID', `${option} is missing`)
}
