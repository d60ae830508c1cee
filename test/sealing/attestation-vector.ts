import { fromUtf8, utf8 } from '../../src/base/bytes.ts'
import { fields, is } from '../../src/base/json.ts'
import { parseDigest } from '../../src/base/names.ts'
import { encodeAttestation, parseAttestation } from '../../src/sealing/attestation.ts'
import { encodeMachine, parseMachine } from '../../src/sealing/machine.ts'
import type { AttestationExpectation } from '../../src/sealing/verify-attestation.ts'
import type { AttestationCase } from './attestation-cases.ts'

/* One file a case: what was answered, what was expected, and what must be found. */

const digest = is.name(parseDigest)
const text = is.string(100_000)
const count = is.integer()

export const attestationVector = fields('vector', {
  name: is.string(),
  comment: is.string(),
  accepted: is.boolean,
  findings: is.array(is.string(), 10),
  nonce: digest,
  store: fields('store', { version: count, digest }),
  earlier: is.record(count, parseDigest, 100),
  since: is.nullable(fields('time', { clock: is.string(), resetCount: count, restartCount: count })),
  ledgerSize: count,
  hardware: is.boolean,
  machine: text,
  attestation: text,
})
export type AttestationVector = ReturnType<typeof attestationVector>

export function encodeVector({
  name,
  comment,
  findings,
  isAccepted,
  attestation,
  expected,
}: AttestationCase): string {
  const { nonce, store, earlier, since, ledgerSize, isHardwareRequired, machine } = expected
  const vector: AttestationVector = {
    name,
    comment,
    accepted: isAccepted,
    findings,
    nonce,
    store,
    earlier: Object.fromEntries(earlier),
    since: since && { ...since, clock: since.clock.toString() },
    ledgerSize,
    hardware: isHardwareRequired,
    machine: fromUtf8(encodeMachine(machine)),
    attestation: fromUtf8(encodeAttestation(attestation)),
  }
  return `${JSON.stringify(vector, null, 2)}\n`
}

export function expectationOf(vector: AttestationVector): AttestationExpectation {
  const { nonce, store, earlier, since, ledgerSize, hardware, machine } = vector
  return {
    nonce,
    store,
    earlier: new Map(Object.entries(earlier).map(([one, version]) => [parseDigest(one), version])),
    since: since && { ...since, clock: BigInt(since.clock) },
    ledgerSize,
    isHardwareRequired: hardware,
    machine: parseMachine(utf8(machine)),
  }
}

export function attestationOf({ attestation }: AttestationVector) {
  return parseAttestation(utf8(attestation))
}
