import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { systemClock, systemEntropy } from '../base/environment.ts'
import { fields, is } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import { listenSocket } from '../host/local/socket.ts'
import { Approvals } from '../hsm/approvals.ts'
import { serveControl } from '../hsm/control.ts'
import { serveHsm } from '../hsm/serve.ts'
import { HsmStore } from '../hsm/store.ts'
import { ledgerOrigin, witnessName } from '../ledger/identities.ts'
import { createServer } from '../qrexec/server.ts'
import { makerCertificates } from '../sealing/makers.ts'
import { AttestationVerifier } from '../sealing/verifier.ts'
import { hsmSettings, hsmUsage } from '../usage/hsm.ts'
import { type Answer, missing, runCommand } from './command-line.ts'
import { attend, controlSocket, decide, pending } from './hsm-approvals.ts'
import { doctor, envelopes, history, init, keys, newEpoch, recover, rewrap } from './hsm-commands.ts'
import { compare } from './hsm-compare.ts'
import { anchor, countedBy, explain } from './hsm-sealed.ts'
import { machineCommand } from './machine-command.ts'
import { roleCommand } from './role-command.ts'
import { openConfiguration } from './sealed-configuration.ts'
import { readSettings } from './settings.ts'
import { onStop } from './stop.ts'
import { surroundings } from './surroundings.ts'
import { openToken, tokenPin } from './token.ts'

/* The HSM VM: holds the token, releases one passphrase for one job, and witnesses the ledger. */

const parseSettings = fields('HSM settings', {
  /** `envelopes/`, `witness.json`, `releases.jsonl`, `machine.json`, `attested.json`, `tpm-makers/`, `sealed/`. */
  home: is.string(4000),
  /** The Unix socket on which qrexec delivers calls. */
  services: is.string(4000),
  tokenLabel: is.string(32),
  /** The PKCS#11 module; SoftHSM where absent. */
  module: is.optional(is.string(4000)),
  /** SoftHSM only: its configuration, made by `init`. */
  softhsmConfiguration: is.optional(is.string(4000)),
  /** Whether the token counts the versions of the sealed store, once `anchor` has begun it. */
  counter: is.optional(is.boolean),
  /** Mode 0600; absent: asked on the terminal when the token is first used. */
  pinFile: is.optional(is.string(4000)),
})

const { values, positionals } = parseArgs({ allowPositionals: true, options: hsmUsage.options })
const command = roleCommand(hsmUsage, values.help, positionals)
const [, operand] = positionals
if (command === 'recover') {
  // On a rescue machine: no token, no settings.
  await runCommand(values.json, () => recover(operand ?? missing('ENVELOPE'), recoveryKeyFile()))
  process.exit()
}
const settings = await readSettings(values.settings ?? hsmSettings, parseSettings)
const { home, softhsmConfiguration } = settings
const sealedDirectory = path.join(home, 'sealed')
const pin = tokenPin(settings.pinFile)
const token = openToken({ label: settings.tokenLabel, module: settings.module, softhsmConfiguration, pin })
const ports = { token, pin, entropy: systemEntropy, home, softhsmConfiguration }

const commands: Record<
  Exclude<keyof typeof hsmUsage.commands, 'recover'>,
  (signal: AbortSignal) => Promise<Answer>
> = {
  anchor: signal => anchor(token, sealedDirectory, signal),
  init: signal => init(ports, signal),
  keys: signal => keys(ports, signal),
  doctor: signal => doctor(ports, signal),
  'new-epoch': async signal => newEpoch(ports, profile(), recoveryKeyFile(), signal),
  pending: signal => pending(home, signal),
  approve: async signal => decide(home, code(), 'approved', signal),
  deny: async signal => decide(home, code(), 'denied', signal),
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
        recoveryKeyFile: values['recovery-key'] ?? null,
      },
      signal,
    ),
  machine: () => machineCommand(home, { forget: values.forget ?? false, yes: values.yes ?? false }),
  envelopes: () => envelopes(ports),
}
if (command === null) await serve()
else {
  await runCommand(values.json, commands[command])
  token[Symbol.dispose]()
}

async function serve(): Promise<void> {
  const log = createLog('hsm-vm')
  const counter =
    settings.counter === true ? countedBy(token, sealedDirectory, new AbortController().signal) : null
  const sealed = await openConfiguration(sealedDirectory, systemClock, counter).catch(error => {
    log.error('this VM’s copy of the sealed configuration does not verify: refusing to run', { error })
    process.exit(4)
  })
  const store = await HsmStore.open(home)
  const { dom0 } = sealed.current().value.roles.keys
  const approvals = new Approvals(systemClock)
  const handlers = serveHsm({
    clock: systemClock,
    log,
    store,
    token,
    configuration: async () => {
      await sealed.recheck()
      return sealed.current()
    },
    machine: await AttestationVerifier.open({
      directory: home,
      clock: systemClock,
      entropy: systemEntropy,
      roots: await makerCertificates(path.join(home, 'tpm-makers')),
    }),
    approvals,
    ledger: { origin: ledgerOrigin(dom0), witness: witnessName('hsm') },
  })
  const calls = createServer(handlers, { log })
  const listener = await listenSocket(settings.services, socket => calls.accept(socket))
  const control = createServer(serveControl(approvals, store), { log })
  const person = await listenSocket(controlSocket(home), socket => control.accept(socket))
  for (const { ok, text } of await surroundings()) if (!ok) log.warn(`this VM ${text}`)
  log.info('ready')
  onStop(log, async () => {
    await person.close()
    await listener.close()
    token[Symbol.dispose]()
    await store[Symbol.asyncDispose]()
  })
}

function profile(): string {
  return operand ?? missing('PROFILE')
}

function code(): string {
  return operand ?? missing('CODE')
}

function recoveryKeyFile(): string {
  return values['recovery-key'] ?? missing('--recovery-key')
}

function epochOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new BaseError('FIELD_INVALID', '--epoch is a number from 1 on')
}
