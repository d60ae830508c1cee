import { rm } from 'node:fs/promises'
import path from 'node:path'
import { equalConstantTime, fromBase64, fromHex, toBase64, toHex, utf8 } from '../base/bytes.ts'
import { readBounded, syncDirectory, writeDurably } from '../base/files.ts'
import { fields, is, parseJson } from '../base/json.ts'
import { type Digest, parseDigest } from '../base/names.ts'
import { usablePcrs } from '../tpm/public/pcrs.ts'
import { type PublicArea, parsePublicArea, whyNotAttestationKey } from '../tpm/public/public-area.ts'
import type { CounterAnchor } from './counter-standing.ts'
import { parsingAs, SealError } from './errors.ts'
import { isPcr, isPcrList, type PcrClaim } from './event-log.ts'
import { reportingIo } from './io.ts'

/*
 * A machine as whoever verifies it knows it: pinned on first use. A person who trusts the machine at that moment is what all later
 * attestations rest on.
 */

const machineBytesMax = 16_384
const areaTextMax = 2048

const tpmKinds = ['hardware', 'software', 'unproven'] as const
/** `hardware`: a certificate of its maker was verified. */
export type TpmKind = (typeof tpmKinds)[number]

/** Into which PCR dom0 measures the store unless told otherwise. */
export const storePcrDefault = 14

export interface EnrolledMachine {
  /** SHA-256 in the name of the endorsement key: which TPM it is. */
  readonly endorsement: Digest
  readonly attestationKey: PublicArea
  /** SHA-256 of the endorsement key's certificate. */
  readonly certificate: Digest | null
  readonly tpm: TpmKind
  /** Of the TPM when it was enrolled. */
  readonly firmware: bigint | null
  readonly storePcr: number
  /** Values of firmware and boot loader that must stay as they are; may be none. */
  readonly platform: readonly PcrClaim[]
  readonly counter: CounterAnchor | null
}

/** A number of 64 bits, as a TPM counts: 16 lower-case hex digits. */
export const isNumber64 = (value: unknown): bigint => {
  const text = is.string(16)(value)
  return Buffer.from(fromHex(text, 8)).readBigUInt64BE()
}

export function encodeNumber64(number: bigint): string {
  return number.toString(16).padStart(16, '0')
}

const shape = fields('machine', {
  v: is.literal(1),
  type: is.literal('machine'),
  endorsement: is.name(parseDigest),
  attestationKey: (value: unknown) => parsePublicArea(fromBase64(is.string(areaTextMax)(value))),
  certificate: is.nullable(is.name(parseDigest)),
  tpm: is.literal(...tpmKinds),
  firmware: is.nullable(isNumber64),
  storePcr: isPcr,
  platform: isPcrList,
  counter: is.nullable(
    fields('counter', { index: is.integer(), base: is.integer(-Number.MAX_SAFE_INTEGER) }),
  ),
})

/** Throws `SEAL_MACHINE_INVALID`. */
export function parseMachine(untrustedBytes: Uint8Array): EnrolledMachine {
  return parsingAs('SEAL_MACHINE_INVALID', 'the enrolled machine', () => {
    const { v: _v, type: _type, ...machine } = shape(parseJson(untrustedBytes, { bytesMax: machineBytesMax }))
    usablePcrs([machine.storePcr, ...machine.platform.map(({ pcr }) => pcr)])
    const unfit = whyNotAttestationKey(machine.attestationKey)
    if (unfit !== null) throw new SealError('SEAL_MACHINE_INVALID', `its attestation key: ${unfit}`)
    return machine
  })
}

export function encodeMachine(machine: EnrolledMachine): Uint8Array {
  const { endorsement, attestationKey, certificate, tpm, firmware, storePcr, platform, counter } = machine
  const text = JSON.stringify({
    v: 1,
    type: 'machine',
    endorsement,
    attestationKey: toBase64(attestationKey.bytes),
    certificate,
    tpm,
    firmware: firmware === null ? null : encodeNumber64(firmware),
    storePcr,
    platform: platform.map(({ pcr, value }) => ({ pcr, value })),
    counter: counter && { index: counter.index, base: counter.base },
  })
  return utf8(`${text}\n`)
}

/** Where a VM that verifies dom0 keeps the machine. */
export function machineFile(directory: string): string {
  return path.join(directory, 'machine.json')
}

/** The digest in a key's name, which names the key. */
export function keyDigest({ name }: Pick<PublicArea, 'name'>): Digest {
  return parseDigest(toHex(name.subarray(2)))
}

/** `null` before one was enrolled. A file that is there and cannot be understood is an alarm, not a beginning. */
export async function readMachine(file: string): Promise<EnrolledMachine | null> {
  const bytes = await reportingIo(() => readBounded(file, machineBytesMax))
  return bytes === null ? null : bytes.parse(parseMachine)
}

/**
 * Pins the machine on first use; the same one again changes nothing. Throws `SEAL_MACHINE_CHANGED` for any other: only a person
 * removes a pin. Durable when it resolves. Not for two at once.
 */
export async function pinMachine(file: string, machine: EnrolledMachine): Promise<'pinned' | 'known'> {
  const pinned = await readMachine(file)
  if (pinned === null) {
    await reportingIo(() => writeDurably(file, encodeMachine(machine), 0o600))
    return 'pinned'
  }
  const changed = changedParts(pinned, machine)
  if (changed.length === 0) return 'known'
  throw new SealError('SEAL_MACHINE_CHANGED', `not as it was enrolled: ${changed.join(', ')}`)
}

/** By a person only: the next machine that answers is the one that is known. A verifier that runs looks at the file each time. */
export async function forgetMachine(file: string): Promise<void> {
  await reportingIo(async () => {
    await rm(file, { force: true })
    await syncDirectory(path.dirname(file))
  })
}

function changedParts(pinned: EnrolledMachine, now: EnrolledMachine): readonly string[] {
  if (equalConstantTime(encodeMachine(pinned), encodeMachine(now))) return []
  const parts: readonly (readonly [string, boolean])[] = [
    ['another TPM', pinned.endorsement !== now.endorsement],
    ['another attestation key', keyDigest(pinned.attestationKey) !== keyDigest(now.attestationKey)],
    ['another certificate', pinned.certificate !== now.certificate],
  ]
  const found = parts.filter(([, isChanged]) => isChanged).map(([words]) => words)
  return found.length > 0 ? found : ['its firmware, its counter or the PCRs that were agreed']
}
