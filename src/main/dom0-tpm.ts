import path from 'node:path'
import { toHex } from '../base/bytes.ts'
import { parseDigest } from '../base/names.ts'
import { Serially } from '../base/serially.ts'
import type { Attestor } from '../hsm/remote.ts'
import type { Attested, Question } from '../qrexec/calls/attest.ts'
import { encodeAttestation, type LedgerClaim, type StoreClaim } from '../sealing/attestation.ts'
import { type AnchoredCounter, anchorCounter, readCounterBase } from '../sealing/counter.ts'
import { storePcrDefault } from '../sealing/machine.ts'
import { openMeasurements } from '../sealing/measuring.ts'
import { sealedPlace } from '../sealing/place.ts'
import { activateCredential } from '../tpm/device/activate.ts'
import { withLoaded } from '../tpm/device/command.ts'
import { counterIndexDefault, tpmCounter } from '../tpm/device/counter.ts'
import { readEndorsementCertificate } from '../tpm/device/endorsement-certificate.ts'
import { createAttestationKey, createEndorsementKey, type LoadedKey } from '../tpm/device/keys.ts'
import { measuringDevice } from '../tpm/device/measuring-device.ts'
import { readProperties } from '../tpm/device/properties.ts'
import { openTpm, type Tpm } from '../tpm/device/tpm.ts'
import { TpmError } from '../tpm/errors.ts'
import type { Answer } from './command-line.ts'

/* dom0's TPM: counts the versions of the sealed store, measures the one in force, and answers who asks for it. */

export interface Dom0TpmSettings {
  /** /dev/tpmrm0, or the socket of a software TPM. */
  readonly device: string
  /** Is empty after a start of the machine, as /run is. */
  readonly measurements: string
  /** Absent: 14. */
  readonly storePcr?: number | undefined
  /** Of the firmware, which must stay as they were when this machine was enrolled; absent: none. */
  readonly platformPcrs?: readonly number[] | undefined
}

export interface Dom0Tpm extends AsyncDisposable {
  readonly counter: AnchoredCounter
  /** Makes the counter where there is none, and says that it stands for this version from now on. */
  anchor(version: number): Promise<number>
  /** Measures the store before it is used; what it gives answers for it. */
  measured(store: StoreClaim, ledger: () => LedgerClaim, signal: AbortSignal): Promise<Attestor>
}

export function openDom0Tpm(home: string, settings: Dom0TpmSettings, signal: AbortSignal): Dom0Tpm {
  const { device, measurements, storePcr = storePcrDefault, platformPcrs = [] } = settings
  const tpm = openTpm(device)
  const counter = tpmCounter(tpm)
  const { counterBase } = sealedPlace(path.join(home, 'sealed'))
  const anchored = { counter, basePath: counterBase, signal }
  return {
    counter: anchored,
    [Symbol.asyncDispose]: () => tpm.close(),
    async anchor(version) {
      await counter.read(signal).catch(error => {
        if (error instanceof TpmError && error.code === 'TPM_NOT_FOUND') return counter.define(signal)
        throw error
      })
      return await anchorCounter(anchored, version)
    },
    async measured(store, ledger, stop) {
      const measuring = measuringDevice(tpm, counter)
      const options = { storePcr, platformPcrs, logFile: path.join(measurements, 'measurements.json') }
      const machine = await openMeasurements(measuring, options, stop)
      await machine.measure(`sealed store, version ${store.version}`, store.digest, stop)
      const about = await describeTpm(tpm, stop)
      const base = await readCounterBase(counterBase)
      const one = new Serially()
      const answer = async ({ nonce, credential }: Question, asking: AbortSignal): Promise<Attested> => {
        const attestation = await machine.attest({ nonce, store, ledger: ledger() }, asking)
        return {
          ...about,
          storePcr,
          counter: { index: counterIndexDefault, base },
          attestation: encodeAttestation(attestation),
          activated: credential === null ? null : await activated(tpm, credential, asking),
        }
      }
      // The HSM VM and the management VM may ask at once, and a TPM has room for three loaded keys.
      return { answer: (question, asking) => one.run(() => answer(question, asking)) }
    },
  }
}

type About = Pick<Attested, 'endorsementKey' | 'attestationKey' | 'certificate' | 'software'>

/** Which TPM this is does not change while it runs. */
function describeTpm(tpm: Tpm, signal: AbortSignal): Promise<About> {
  return withKeys(tpm, signal, async (endorsement, attestation) => ({
    endorsementKey: endorsement.area.bytes,
    attestationKey: attestation.area.bytes,
    certificate: await readEndorsementCertificate(tpm, 'p256', signal),
    software: (await readProperties(tpm, signal)).isSoftware,
  }))
}

function activated(
  tpm: Tpm,
  credential: NonNullable<Question['credential']>,
  signal: AbortSignal,
): Promise<Uint8Array> {
  return withKeys(tpm, signal, async (endorsement, attestation) => {
    using answer = await activateCredential(tpm, attestation, endorsement, credential, null, signal)
    return answer.expose(bytes => bytes.slice())
  })
}

async function withKeys<T>(
  tpm: Tpm,
  signal: AbortSignal,
  use: (endorsement: LoadedKey, attestation: LoadedKey) => Promise<T>,
): Promise<T> {
  return withLoaded(tpm, await createEndorsementKey(tpm, 'p256', null, signal), async endorsement =>
    withLoaded(tpm, await createAttestationKey(tpm, null, signal), attestation =>
      use(endorsement, attestation),
    ),
  )
}

/**
 * `strongroom dom0 anchor`: the counter stands for the version on disk from now on. A verifier that knows this machine by another
 * anchor refuses it until a person enrols it anew.
 */
export async function anchorStore(tpm: Dom0Tpm, { version, digest }: StoreClaim): Promise<Answer> {
  const base = await tpm.anchor(version)
  return {
    result: { version, digest, base },
    text: [
      `anchored  version ${version}, ${digest}`,
      'careful   if this disk was put back from a backup, compare the digest with another copy: strongroom seal status',
      'next      VMs that knew this machine by another counter refuse it until a person has them forget it: in the HSM VM',
      '          strongroom hsm machine --forget, in the management VM strongroom management machine --forget',
    ],
  }
}

export function ledgerClaim({ size, root }: { size: number; root: Uint8Array }): LedgerClaim {
  return { size, root: parseDigest(toHex(root)) }
}
