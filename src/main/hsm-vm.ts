import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { systemClock, systemEntropy } from '../base/environment.ts'
import { createLog } from '../base/log.ts'
import { listenSocket } from '../host/local/socket.ts'
import { localTransport } from '../host/local/transport.ts'
import { Approvals } from '../hsm/approvals.ts'
import { serveControl } from '../hsm/control.ts'
import { pinProof } from '../hsm/pin-proof.ts'
import { Releaser } from '../hsm/releaser.ts'
import { serveHsm } from '../hsm/serve.ts'
import { HsmStore } from '../hsm/store.ts'
import { withWitness } from '../hsm/witness-token.ts'
import { ledgerOrigin, witnessName } from '../ledger/identities.ts'
import { createServer } from '../qrexec/server.ts'
import { makerCertificates } from '../sealing/makers.ts'
import { AttestationVerifier } from '../sealing/verifier.ts'
import { hsmSettings, hsmUsage } from '../usage/hsm.ts'
import { type Answer, missing, runCommand } from './command-line.ts'
import { approve, attend, deny, pending } from './hsm-approvals.ts'
import { doctor, history, init, keys, pinAnew, type TokenPorts } from './hsm-commands.ts'
import { compare } from './hsm-compare.ts'
import { envelopes, newEpoch, rewrap } from './hsm-envelopes.ts'
import { destroyEpoch } from './hsm-epochs.ts'
import { recover, recoveryKey } from './hsm-recovery.ts'
import { anchor, countedBy, explain, sealedBinding } from './hsm-sealed.ts'
import { controlSocket } from './hsm-service.ts'
import { parseHsmSettings, tokenOptions } from './hsm-settings.ts'
import { machineCommand } from './machine-command.ts'
import { roleCommand } from './role-command.ts'
import { openForService } from './sealed-configuration.ts'
import { readSettings } from './settings.ts'
import { onStop } from './stop.ts'
import { surroundings } from './surroundings.ts'
import { openToken } from './token.ts'

/* The HSM VM: holds the token, releases one passphrase for one job, and witnesses the ledger. */

const { values, positionals } = parseArgs({ allowPositionals: true, options: hsmUsage.options })
const command = roleCommand(hsmUsage, values.help, positionals)
const [, operand, ...operands] = positionals
const source = { recoveryKeyFile: values['recovery-key'] ?? null, words: values.words ?? [] }
// On a rescue machine, or one without a network: no token, no settings.
if (command === 'recover') {
  await runCommand(values.json, async () => recover(operand ?? missing('ENVELOPE'), source))
  process.exit()
}
if (command === 'recovery-key') {
  await runCommand(values.json, async () => {
    const { shares, threshold, cards = null, note = '', json = false } = values
    const options = { ...source, shares, threshold, cards, note, json }
    return recoveryKey(operand, operands, options, { entropy: systemEntropy, clock: systemClock })
  })
  process.exit()
}
const settings = await readSettings(values.settings ?? hsmSettings, parseHsmSettings)
const { home } = settings
const sealedDirectory = path.join(home, 'sealed')
const options = tokenOptions(settings, home, 'token')
const token = openToken(options)
const witnessOptions = settings.witness && tokenOptions(settings.witness, home, 'witness')
const witness = witnessOptions && openToken(witnessOptions)
const ports = { token, pin: options.pin, entropy: systemEntropy, home }

/** What a person does to a token: the one that opens envelopes, or with `--witness` the other. */
function chosen(): TokenPorts {
  if (values.witness !== true) {
    const duties = { opens: true, witnesses: witness === undefined }
    return { ...ports, ...options, softhsmConfiguration: settings.softhsmConfiguration, duties }
  }
  if (witness === undefined || witnessOptions === undefined || settings.witness === undefined)
    throw new BaseError('FIELD_INVALID', 'the settings name no other token that witnesses', {
      hint: 'leave out --witness, or name that token as `witness` in the settings',
    })
  const { softhsmConfiguration } = settings.witness
  const duties = { opens: false, witnesses: true }
  return { ...ports, ...witnessOptions, token: witness, softhsmConfiguration, duties }
}

const commands: Record<
  Exclude<keyof typeof hsmUsage.commands, 'recover' | 'recovery-key'>,
  (signal: AbortSignal) => Promise<Answer>
> = {
  anchor: signal => anchor(token, sealedDirectory, signal),
  init: async signal => init(chosen(), signal),
  keys: async signal => keys(chosen(), signal),
  doctor: async signal => doctor(chosen(), signal),
  pin: async signal => pinAnew(chosen().typed, signal),
  'new-epoch': async signal =>
    newEpoch(
      ports,
      {
        profile: profile(),
        recoveryKeyFile: source.recoveryKeyFile,
        recipients: values.recipient ?? [],
      },
      sealedBinding(sealedDirectory),
      signal,
    ),
  pending: signal => pending(home, signal),
  approve: async signal => approve(home, code(), signal),
  deny: async signal => deny(home, code(), signal),
  attend: signal => attend(home, values.dialog ?? null, signal),
  history: () => history(home, operand),
  explain: () => explain(sealedDirectory, operand),
  compare: () => compare({ home, sealedDirectory }, { dom0: values.dom0, management: values.management }),
  rewrap: async signal =>
    rewrap(
      ports,
      {
        profile: profile(),
        epoch: values.epoch === undefined ? null : epochOf(values.epoch),
        recipients: values.recipient ?? [],
        source: source.recoveryKeyFile === null && source.words.length === 0 ? null : source,
      },
      signal,
    ),
  'destroy-epoch': signal =>
    destroyEpoch(
      home,
      { profile: profile(), epoch: epochOf(operands[0] ?? missing('EPOCH')), yes: values.yes ?? false },
      signal,
    ),
  machine: () => machineCommand(home, { forget: values.forget ?? false, yes: values.yes ?? false }),
  envelopes: () => envelopes(ports),
}
if (command === null) await serve()
else {
  await runCommand(values.json, commands[command])
  endTokens()
}

function endTokens(): void {
  token[Symbol.dispose]()
  witness?.[Symbol.dispose]()
}

async function serve(): Promise<void> {
  const log = createLog('hsm-vm')
  const counter =
    settings.counter === true ? countedBy(token, sealedDirectory, new AbortController().signal) : null
  const sealed = await openForService(log, sealedDirectory, systemClock, counter)
  const store = await HsmStore.open(home)
  const { dom0 } = sealed.current().value.roles.keys
  const approvals = new Approvals(systemClock)
  const configuration = async () => {
    await sealed.recheck()
    return sealed.current()
  }
  const ledger = { origin: ledgerOrigin(dom0), witness: witnessName('hsm') }
  const releaser = new Releaser({
    clock: systemClock,
    entropy: systemEntropy,
    log,
    store,
    token: witness === undefined ? token : withWitness(token, witness),
    configuration,
    machine: await AttestationVerifier.open({
      directory: home,
      clock: systemClock,
      entropy: systemEntropy,
      roots: await makerCertificates(path.join(home, 'tpm-makers')),
    }),
    approvals,
    ledger,
  })
  const calls = createServer(serveHsm(releaser), { log })
  const listener = await listenSocket(settings.services, socket => calls.accept(socket))
  const transport = settings.qrexec === undefined ? null : localTransport(settings.qrexec)
  const provePin = pinProof(token, login => openToken({ ...options, ...login }))
  const asked = { clock: systemClock, log, store, configuration, ledger, releaser, transport, provePin }
  const control = createServer(serveControl(approvals, asked), { log })
  const person = await listenSocket(controlSocket(home), socket => control.accept(socket))
  for (const { ok, text } of await surroundings()) if (!ok) log.warn(`this VM ${text}`)
  log.info('ready')
  onStop(log, async () => {
    await person.close()
    await listener.close()
    endTokens()
    await store[Symbol.asyncDispose]()
  })
}

function profile(): string {
  return operand ?? missing('PROFILE')
}

function code(): string {
  return operand ?? missing('CODE')
}

function epochOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new BaseError('FIELD_INVALID', 'an epoch is a number from 1 on', {
    hint: '`strongroom hsm envelopes` lists them',
  })
}
