import { equalConstantTime } from '../../base/bytes.ts'
import { CodedError } from '../../base/errors.ts'
import { type Attest, parseAttest, type SignedAttest, type TpmTime, wentBack } from './attest.ts'
import { generatedByTpm, hierarchy } from './constants.ts'
import { type PublicArea, qualifiedNameOf, whyNotAttestationKey } from './public-area.ts'
import { isSignedBy, parseSignature } from './signature.ts'

/* What is verified of every statement of a TPM, item by item: an answer that says which one is wrong, not merely that one is. */

export interface Check<Item extends string = string> {
  readonly item: Item
  /** `unchecked`: nothing was expected, or what goes before has failed; never to be taken for passed. */
  readonly verdict: 'passed' | 'failed' | 'unchecked'
  /** For people. */
  readonly words: string
}

const commonItems = [
  'key',
  'signature',
  'form',
  'magic',
  'type',
  'nonce',
  'signer',
  'firmware',
  'time',
] as const
export type CommonItem = (typeof commonItems)[number]

export interface CommonExpectation {
  /** Of the machine that is asked; pinned when it was enrolled. */
  readonly attestationKey: PublicArea
  /** What was sent to it as qualifying data. */
  readonly nonce: Uint8Array
  /** Names of the keys above the attestation key, from the primary one down; none when it is a primary key itself. */
  readonly parents?: readonly Uint8Array[]
  readonly firmware?: bigint
  /** The newest that this machine has told before. */
  readonly since?: TpmTime
}

export function check<Item extends string>(item: Item, fault: string | null, passed: string): Check<Item> {
  return fault === null
    ? { item, verdict: 'passed', words: passed }
    : { item, verdict: 'failed', words: fault }
}

export function unchecked<Item extends string>(item: Item, words: string): Check<Item> {
  return { item, verdict: 'unchecked', words }
}

const mayBeUnchecked: ReadonlySet<string> = new Set<CommonItem>(['firmware', 'time'])

/** Nothing failed, and nothing was left unchecked but firmware and time. */
export function isAccepted(checks: readonly Check[]): boolean {
  return checks.every(
    ({ item, verdict }) => verdict === 'passed' || (verdict === 'unchecked' && mayBeUnchecked.has(item)),
  )
}

export interface CommonVerdict {
  readonly checks: readonly Check<CommonItem>[]
  /** `null` unless key, signature and form are right: nothing in forged bytes means anything. */
  readonly attest: Attest | null
}

/** Signature over the bytes first; only then are they read. */
export function checkStatement(
  { attest: untrustedAttest, signature }: SignedAttest,
  type: number,
  expected: CommonExpectation,
): CommonVerdict {
  const checks: Check<CommonItem>[] = []
  const stop = (): CommonVerdict => {
    const left = commonItems.slice(checks.length)
    return {
      checks: [...checks, ...left.map(item => unchecked(item, 'what goes before has failed'))],
      attest: null,
    }
  }
  const unfit = whyNotAttestationKey(expected.attestationKey)
  checks.push(check('key', unfit, 'an attestation key bound to its TPM'))
  if (unfit !== null) return stop()
  const forged = whyNotSigned(untrustedAttest, signature, expected.attestationKey)
  checks.push(check('signature', forged, 'signed by the attestation key'))
  if (forged !== null) return stop()
  const attest = attempt(() => parseAttest(untrustedAttest))
  checks.push(check('form', typeof attest === 'string' ? attest : null, 'well-formed'))
  if (typeof attest === 'string') return stop()
  checks.push(...checkContent(attest, type, expected))
  return { checks, attest }
}

function whyNotSigned(
  message: Uint8Array,
  untrustedSignature: Uint8Array,
  { key }: PublicArea,
): string | null {
  const signature = attempt(() => parseSignature(untrustedSignature))
  if (typeof signature === 'string') return signature
  return isSignedBy(key, message, signature) ? null : 'the signature is not by the expected attestation key'
}

/** What `work` gives, or the words of the `CodedError` it throws. */
function attempt<T>(work: () => T): T | string {
  try {
    return work()
  } catch (error) {
    if (error instanceof CodedError) return error.message
    throw error
  }
}

function checkContent(
  attest: Attest,
  type: number,
  expected: CommonExpectation,
): readonly Check<CommonItem>[] {
  const { attestationKey, nonce, parents, firmware, since } = expected
  const signer = qualifiedNameOf(attestationKey.name, hierarchy.endorsement, parents)
  const isFirmware = firmware === undefined || attest.firmware === firmware
  return [
    check('magic', attest.magic === generatedByTpm ? null : 'a TPM did not make it', 'made by a TPM'),
    check(
      'type',
      attest.type === type
        ? null
        : `it is a statement of kind 0x${attest.type.toString(16)}, not 0x${type.toString(16)}`,
      'of the kind that was asked for',
    ),
    check(
      'nonce',
      equalConstantTime(attest.extraData, nonce)
        ? null
        : 'it answers another question: an old one was replayed',
      'it answers this question',
    ),
    check(
      'signer',
      equalConstantTime(attest.qualifiedSigner, signer)
        ? null
        : 'the key that signed hangs elsewhere in its TPM',
      'the key is where it was enrolled',
    ),
    firmware === undefined
      ? unchecked('firmware', 'no firmware version was expected')
      : check(
          'firmware',
          isFirmware ? null : `the firmware of the TPM is ${hex(attest.firmware)}, and was ${hex(firmware)}`,
          'the same firmware',
        ),
    since === undefined
      ? unchecked('time', 'this machine has told no time before')
      : check('time', wentBack(attest, since), 'its counters went on'),
  ]
}

function hex(version: bigint): string {
  return `0x${version.toString(16)}`
}
