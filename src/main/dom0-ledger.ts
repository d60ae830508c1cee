import path from 'node:path'
import { equalConstantTime, toBase64 } from '../base/bytes.ts'
import type { Environment } from '../base/environment.ts'
import { makePrivateDirectory } from '../base/files.ts'
import type { VmName } from '../base/names.ts'
import { Untrusted } from '../base/untrusted.ts'
import { CryptoError } from '../crypto/errors.ts'
import type { PassphraseService } from '../hsm/passphrase-service.ts'
import { type Attestor, type LedgerEvidence, RemoteHsm } from '../hsm/remote.ts'
import type { Checkpoint } from '../ledger/checkpoint.ts'
import { hsmWitnessKey, ledgerOrigin, managementWitnessKey } from '../ledger/identities.ts'
import { Ledger } from '../ledger/log.ts'
import { readPage } from '../ledger/page.ts'
import type { Signer } from '../ledger/signing.ts'
import type { Transport } from '../qrexec/call.ts'
import { attestMachine } from '../qrexec/calls/attest.ts'
import { cosignLedger, readLedger } from '../qrexec/calls/ledger.ts'
import { type Handler, respond } from '../qrexec/server.ts'
import type { LedgerClaim } from '../sealing/attestation.ts'
import type { Answer } from './command-line.ts'
import { ledgerClaim } from './dom0-tpm.ts'
import { readLedgerFloor, rememberLedgerHead } from './ledger-floor.ts'
import { RecordedLedger } from './ledger-port.ts'
import type { ConfigurationStore } from './sealed-configuration.ts'
import { makeSigningKey, readSigningKey } from './signing-key.ts'

export interface Dom0Ledger {
  readonly ledger: RecordedLedger
  readonly passphrases: (hsmVm: VmName) => PassphraseService
  readonly handlers: Record<string, Handler>
  /** The ledger's own key, by which reports are signed too. */
  readonly signer: Signer
  readonly head: () => Checkpoint
}

/** A TPM signs within a second. */
const attestMilliseconds = 30_000
const ledgerKeyFile = 'ledger-key.der'

function ledgerDirectory(home: string): string {
  return path.join(home, 'ledger')
}

/** dom0's key of the ledger, made by `strongroom dom0 init`. */
async function readLedgerSigner(home: string): Promise<Signer> {
  const signer = await readSigningKey(path.join(home, ledgerKeyFile))
  if (signer !== null) return signer
  throw new CryptoError('KEY_INVALID', 'dom0 has no key for its ledger', {
    hint: 'strongroom dom0 init makes one',
  })
}

/**
 * `strongroom dom0 init`: makes the key and the ledger, and shows the key's public half for the sealed roles. Nothing else
 * ever starts a ledger, and this replaces none.
 */
export async function initialiseLedger(home: string, { clock, entropy }: Environment): Promise<Answer> {
  const file = path.join(home, ledgerKeyFile)
  if ((await readSigningKey(file)) !== null)
    throw new CryptoError('KEY_INVALID', 'dom0 has a key for its ledger already', {
      hint: 'a new key would orphan the ledger; see the sealed roles for its public half',
    })
  await makePrivateDirectory(home)
  const signer = await makeSigningKey(file, entropy)
  const log = await Ledger.create(ledgerDirectory(home), {
    origin: ledgerOrigin(signer.publicKey),
    signer,
    clock,
  })
  await rememberLedgerHead(home, log.head)
  const publicKey = toBase64(signer.publicKey)
  return { result: { publicKey }, text: [`public key  ${publicKey}`, 'put it into roles.json as keys.dom0'] }
}

/**
 * Opens the ledger that the sealed configuration knows, and what other VMs may do with it. Throws what `Ledger.open`
 * throws: a ledger that is gone, or older than it was, is an alarm and never begun anew.
 */
export async function openDom0Ledger(
  home: string,
  configuration: ConfigurationStore,
  transport: Transport,
  { clock }: Environment,
  attestorFor: (head: () => LedgerClaim) => Promise<Attestor | null>,
): Promise<Dom0Ledger> {
  const signer = await readLedgerSigner(home)
  const { keys } = configuration.current().value.roles
  if (!equalConstantTime(signer.publicKey, keys.dom0))
    throw new CryptoError('KEY_INVALID', 'the key of dom0’s ledger is not the one in the sealed roles')
  const management = managementWitnessKey(keys)
  const witnesses = [hsmWitnessKey(keys), ...(management === null ? [] : [management])]
  const origin = ledgerOrigin(keys.dom0)
  const floor = await readLedgerFloor(home)
  const log = await Ledger.open(ledgerDirectory(home), { origin, signer, clock, witnesses, floor })
  const evidence = evidenceOf(log, hsmWitnessKey(keys).name)
  const attestor = await attestorFor(() => ledgerClaim(log.head))
  const known = new Map<VmName, RemoteHsm>()
  const hsm = (hsmVm: VmName) => {
    const one = known.get(hsmVm) ?? new RemoteHsm({ transport, hsmVm, ledger: evidence, attestor, clock })
    known.set(hsmVm, one)
    return one
  }
  return {
    ledger: await RecordedLedger.open(
      log,
      (hsmVm, signal) => hsm(hsmVm).publish(signal),
      head => rememberLedgerHead(home, head),
    ),
    passphrases: hsm,
    signer,
    head: () => log.head,
    handlers: {
      [attestMachine.service]: respond(attestMachine, async question => ({
        attested:
          attestor === null ? null : await attestor.answer(question, AbortSignal.timeout(attestMilliseconds)),
      })),
      [readLedger.service]: respond(readLedger, ({ from }) => readPage(log, from)),
      [cosignLedger.service]: respond(cosignLedger, async ({ size, cosignature }) => {
        await log.addCosignature(new Untrusted(cosignature), size)
        return undefined
      }),
    },
  }
}

/** The ledger as the HSM VM is shown it. */
function evidenceOf(ledger: Ledger, witness: string): LedgerEvidence {
  return {
    get witnessSize() {
      return ledger.witnessed.find(one => one.witness.name === witness)?.checkpoint.size ?? 0
    },
    async head(from) {
      // Both before any wait: the ledger may grow in the meantime.
      const { size } = ledger
      const checkpoint = ledger.checkpoint()
      const consistency = from <= size ? await ledger.consistency(from, size) : []
      return { checkpoint, size, consistency }
    },
    inclusion: (index, size) => ledger.inclusion(index, size),
    async cosigned(untrustedLine, size) {
      await ledger.addCosignature(untrustedLine, size)
    },
  }
}
