import './failure.ts'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { BaseError } from '../base/base-errors.ts'
import { systemClock, systemEntropy } from '../base/environment.ts'
import { fields, is } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import { parseProfileName } from '../base/names.ts'
import { listenSocket } from '../host/local/socket.ts'
import { Approvals } from '../hsm/approvals.ts'
import { serveControl } from '../hsm/control.ts'
import { HsmError } from '../hsm/errors.ts'
import { explainBinding } from '../hsm/explain.ts'
import { softHsmModule } from '../hsm/modules.ts'
import { pinFromFile, pinFromTerminal } from '../hsm/pin.ts'
import { serveHsm } from '../hsm/serve.ts'
import { HsmStore } from '../hsm/store.ts'
import { TokenProcess } from '../hsm/token-process.ts'
import { ledgerOrigin, witnessName } from '../ledger/identities.ts'
import { createServer } from '../qrexec/server.ts'
import { type AnchoredCounter, anchorCounter } from '../sealing/counter.ts'
import { makerCertificates } from '../sealing/makers.ts'
import { AttestationVerifier } from '../sealing/verifier.ts'
import { hsmSettings, hsmUsage } from '../usage/hsm.ts'
import { type Answer, runCommand } from './command-line.ts'
import { attend, controlSocket, decide, pending } from './hsm-approvals.ts'
import * as commands from './hsm-commands.ts'
import { machineCommand } from './machine-command.ts'
import { roleCommand } from './role-command.ts'
import { openConfiguration, sealedPlace } from './sealed-configuration.ts'
import { readSettings } from './settings.ts'
import { onStop } from './stop.ts'

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
  await runCommand(values.json, () =>
    commands.recover(required('ENVELOPE', operand), required('--recovery-key', values['recovery-key'])),
  )
  process.exit()
}
const settings = await readSettings(values.settings ?? hsmSettings, parseSettings)
const sealedDirectory = path.join(settings.home, 'sealed')
const { softhsmConfiguration } = settings
const pin =
  settings.pinFile === undefined
    ? pinFromTerminal('PIN of the token: ', { input: process.stdin, output: process.stderr })
    : pinFromFile(settings.pinFile)
const token = new TokenProcess({
  modulePath: settings.module ?? softHsmModule(),
  label: settings.tokenLabel,
  pin,
  environment: softhsmConfiguration === undefined ? {} : { SOFTHSM2_CONF: softhsmConfiguration },
})

if (command === null) await serve()
else {
  await runCommand(values.json, signal => run(command, signal))
  token[Symbol.dispose]()
}

async function run(
  command: Exclude<keyof typeof hsmUsage.commands, 'recover'>,
  signal: AbortSignal,
): Promise<Answer> {
  const ports = { token, pin, entropy: systemEntropy, home: settings.home, softhsmConfiguration }
  switch (command) {
    case 'anchor':
      return anchor(signal)
    case 'init':
      return commands.init(ports, signal)
    case 'keys':
      return commands.keys(ports, signal)
    case 'doctor':
      return commands.doctor(ports, signal)
    case 'new-epoch': {
      const profile = required('PROFILE', operand)
      const recoveryKey = required('--recovery-key', values['recovery-key'])
      return commands.newEpoch(ports, profile, recoveryKey, signal)
    }
    case 'rewrap':
      return commands.rewrap(
        ports,
        {
          profile: required('PROFILE', operand),
          epoch: values.epoch === undefined ? null : epochOf(values.epoch),
          recipients: values.recipient ?? [],
          recoveryKeyFile: values['recovery-key'] ?? null,
        },
        signal,
      )
    case 'machine': {
      const { forget = false, yes = false } = values
      return machineCommand(settings.home, { forget, yes })
    }
    case 'envelopes':
      return commands.envelopes(ports)
    case 'pending':
      return pending(settings.home, signal)
    case 'approve':
    case 'deny':
      return decide(
        settings.home,
        required('CODE', operand),
        command === 'approve' ? 'approved' : 'denied',
        signal,
      )
    case 'attend':
      return attend(settings.home, values.dialog ?? null, signal)
    case 'history':
      return commands.history(settings.home, operand)
    case 'explain':
      return explain(operand)
    default:
      return command satisfies never
  }
}

/** The token counts the versions of this VM's sealed store, which an old disk of it does not bring back. */
function countedBy(signal: AbortSignal): AnchoredCounter {
  return {
    counter: {
      read: stop => token.counter('read', stop),
      increment: stop => token.counter('increment', stop),
    },
    basePath: sealedPlace(sealedDirectory).counterBase,
    signal,
  }
}

async function anchor(signal: AbortSignal): Promise<Answer> {
  const { version, digest } = (await openConfiguration(sealedDirectory, systemClock)).current()
  await token.counter('make', signal)
  const base = await anchorCounter(countedBy(signal), version)
  return { result: { version, digest, base }, text: [`anchored  version ${version}, ${digest}`] }
}

/** By the sealed copy of this VM, which is verified for it. */
async function explain(untrustedProfile: string | undefined): Promise<Answer> {
  const sealed = await openConfiguration(sealedDirectory, systemClock)
  const { bindings } = sealed.current().value
  const wanted = untrustedProfile === undefined ? null : parseProfileName(untrustedProfile)
  const found = [...bindings].filter(([profile]) => wanted === null || profile === wanted)
  if (wanted !== null && found.length === 0)
    throw new HsmError('HSM_REFUSED_PROFILE', `the sealed configuration has no profile '${wanted}'`)
  return {
    result: found.map(([profile, binding]) => ({ profile, ...binding })),
    text: found.flatMap(([profile, binding]) => explainBinding(profile, binding)),
  }
}

async function serve(): Promise<void> {
  const log = createLog('hsm-vm')
  const counter = settings.counter === true ? countedBy(new AbortController().signal) : null
  const sealed = await openConfiguration(sealedDirectory, systemClock, counter).catch(error => {
    log.error('this VM’s copy of the sealed configuration does not verify: refusing to run', { error })
    process.exit(4)
  })
  const store = await HsmStore.open(settings.home)
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
      directory: settings.home,
      clock: systemClock,
      entropy: systemEntropy,
      roots: await makerCertificates(path.join(settings.home, 'tpm-makers')),
    }),
    approvals,
    ledger: { origin: ledgerOrigin(dom0), witness: witnessName('hsm') },
  })
  const calls = createServer(handlers, { log })
  const listener = await listenSocket(settings.services, socket => calls.accept(socket))
  const control = createServer(serveControl(approvals, store), { log })
  const person = await listenSocket(controlSocket(settings.home), socket => control.accept(socket))
  log.info('ready')
  onStop(log, async () => {
    await person.close()
    await listener.close()
    token[Symbol.dispose]()
    await store[Symbol.asyncDispose]()
  })
}

function epochOf(text: string): number {
  if (/^[1-9]\d{0,5}$/.test(text)) return Number(text)
  throw new BaseError('FIELD_INVALID', '--epoch is a number from 1 on')
}

function required(what: string, value: string | undefined): string {
  if (value !== undefined) return value
  throw new BaseError('FIELD_INVALID', `${what} is missing`)
}
