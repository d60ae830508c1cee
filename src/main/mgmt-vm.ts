import './failure.ts'
import { chmod, rm } from 'node:fs/promises'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { buildApi } from '../api/app.ts'
import { readTokenFile, writeTokenFile } from '../api/auth.ts'
import { Catalogue } from '../api/catalogue/catalogue.ts'
import { sqliteDialect } from '../api/catalogue/sqlite.ts'
import { dom0Over } from '../api/dom0-port.ts'
import { MachineWatch } from '../api/machine-watch.ts'
import { Scheduler } from '../api/scheduler.ts'
import { LedgerWitness } from '../api/witness.ts'
import { fromBase64, toBase64 } from '../base/bytes.ts'
import { systemEnvironment } from '../base/environment.ts'
import { fields, is } from '../base/json.ts'
import { createLog } from '../base/log.ts'
import { localTransport } from '../host/local/transport.ts'
import { hsmWitnessKey, ledgerKey as ledgerKeyOf, witnessName } from '../ledger/identities.ts'
import { formatVerifierKey, verifierKey } from '../ledger/note.ts'
import type { Signer } from '../ledger/signing.ts'
import { makerCertificates } from '../sealing/makers.ts'
import { AttestationVerifier } from '../sealing/verifier.ts'
import { managementSettings, managementUsage } from '../usage/management.ts'
import { missing, runCommand } from './command-line.ts'
import { machineCommand } from './machine-command.ts'
import { copyLedger } from './mgmt-ledger.ts'
import { roleCommand } from './role-command.ts'
import { readSettings } from './settings.ts'
import { makeSigningKey, readSigningKey } from './signing-key.ts'
import { onStop } from './stop.ts'

/* The management VM: the API, the schedules, a witness of the ledger, and a verifier of dom0. Knows names of profiles and counts of bytes. */

const publicKey = is.name(text => fromBase64(text))
const parseSettings = fields('management settings', {
  home: is.string(4000),
  /** Its own socket to the broker. */
  qrexec: is.string(4000),
  /** The Unix socket of the API. */
  api: is.string(4000),
  /** Public keys of dom0's ledger and of the HSM VM as its witness, pinned at set-up. */
  keys: fields('keys', { dom0: publicKey, hsm: publicKey }),
  /** Which TPM of dom0 is good enough; `tpm` where absent: any. */
  attestation: is.optional(is.literal('tpm', 'hardware')),
})

const { values, positionals } = parseArgs({ allowPositionals: true, options: managementUsage.options })
const command = roleCommand(managementUsage, values.help, positionals)
const settings = await readSettings(values.settings ?? managementSettings, parseSettings)
const log = createLog('management')
const environment = systemEnvironment
const stop = new AbortController()
const tokenFile = path.join(settings.home, 'api-token')

if (command === 'init') {
  await runCommand(values.json, async () => {
    await writeTokenFile(tokenFile, environment.entropy)
    const witnessKey = toBase64((await witnessSigner()).publicKey)
    const text = [
      `token    ${tokenFile}`,
      `witness  ${witnessKey}: belongs into roles.json as keys.management`,
    ]
    return { result: { tokenFile, witnessKey }, text }
  })
  process.exit()
}

if (command === 'machine') {
  const { forget = false, yes = false } = values
  await runCommand(values.json, () => machineCommand(settings.home, { forget, yes }))
  process.exit()
}

const dom0 = dom0Over(localTransport(settings.qrexec))
const catalogue = await Catalogue.open(() => sqliteDialect(path.join(settings.home, 'catalogue.sqlite')))
const ledgerKey = ledgerKeyOf(settings.keys)

if (command === 'copy-ledger') {
  await runCommand(values.json, () => copyLedger(catalogue, ledgerKey, positionals[1] ?? missing('DIR')))
  process.exit()
}

const signer = await witnessSigner()
const witness = { name: witnessName('management'), signer }
const verifierKeys = [
  ledgerKey,
  hsmWitnessKey(settings.keys),
  verifierKey(witness.name, 'cosignature/v1', signer.publicKey),
].map(formatVerifierKey)

const { clock } = environment
const ledgerWitness = new LedgerWitness({ clock, catalogue, dom0, log, ledgerKey, witness })
const machine = new MachineWatch({
  clock,
  catalogue,
  dom0,
  log,
  witness: ledgerWitness,
  origin: ledgerKey.name,
  openVerifier: async () =>
    AttestationVerifier.open({
      directory: settings.home,
      ...environment,
      roots: await makerCertificates(path.join(settings.home, 'tpm-makers')),
    }),
  isHardwareRequired: settings.attestation === 'hardware',
})
const app = await buildApi({
  dom0,
  catalogue,
  environment,
  log,
  token: await readTokenFile(tokenFile),
  ledger: { origin: ledgerKey.name, verifierKeys },
  machine,
})
void new Scheduler({ clock, catalogue, dom0, log }).run(stop.signal)
void ledgerWitness.run(stop.signal)
void machine.run(stop.signal)
await rm(settings.api, { force: true })
await app.listen({ path: settings.api })
await chmod(settings.api, 0o600)
log.info('ready')
onStop(log, async () => {
  stop.abort()
  await app.close()
  await catalogue[Symbol.asyncDispose]()
})

/** The key by which this VM witnesses the ledger; made where there is none. */
async function witnessSigner(): Promise<Signer> {
  const file = path.join(settings.home, 'witness-key.der')
  return (await readSigningKey(file)) ?? (await makeSigningKey(file, environment.entropy))
}
