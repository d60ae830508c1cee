import { equalConstantTime } from '../../base/bytes.ts'
import { CodedError } from '../../base/errors.ts'
import type { Attest, SignedAttest } from './attest.ts'
import {
  type Check,
  type CommonExpectation,
  type CommonItem,
  check,
  checkStatement,
  isAccepted,
  unchecked,
} from './checks.ts'
import { attestType } from './constants.ts'
import { digestLength } from './hash.ts'
import { isSelection, isUnmeasured, type PcrValues, pcrDigest, usablePcrs } from './pcrs.ts'

/* A quote: the signed values of PCRs. Verified without a TPM and without its tools. */

const pcrItems = ['selection', 'measured', 'digest'] as const
export type QuoteItem = CommonItem | (typeof pcrItems)[number]

export interface QuoteExpectation extends CommonExpectation {
  /** Exactly the PCRs that must be quoted, with the values that they must have. */
  readonly pcrs: PcrValues
}

export interface QuoteVerdict {
  /** Nothing failed, and nothing was left unchecked but firmware and time when none was given. */
  readonly isAccepted: boolean
  /** One for each item, in the order of verification. */
  readonly checks: readonly Check<QuoteItem>[]
  /** What was said, when the signature and the form are right, accepted or not. */
  readonly attest: Attest | null
}

export function verifyQuote(quote: SignedAttest, expected: QuoteExpectation): QuoteVerdict {
  const { checks: common, attest } = checkStatement(quote, attestType.quote, expected)
  const checks = [...common, ...checkPcrs(attest, expected.pcrs)]
  return { isAccepted: isAccepted(checks), checks, attest }
}

function checkPcrs(attest: Attest | null, expected: PcrValues): readonly Check<QuoteItem>[] {
  if (attest?.attested.kind !== 'quote')
    return pcrItems.map(item => unchecked(item, 'what goes before has failed'))
  const { banks, pcrDigest: quoted } = attest.attested
  const unfit = whyNotUsable(expected)
  const wanted = [...expected.keys()].sort((a, b) => a - b)
  const selection = unfit ?? (isSelection(banks, wanted) ? null : 'it quotes other PCRs than were asked for')
  return [
    check('selection', selection, `PCR ${wanted.join(', ')} of the SHA-256 bank`),
    check('measured', whyNotMeasured(expected, quoted), 'something was measured into each'),
    check(
      'digest',
      equalConstantTime(quoted, pcrDigest(expected)) ? null : 'the PCRs have other values than expected',
      'the PCRs have the expected values',
    ),
  ]
}

function whyNotUsable(expected: PcrValues): string | null {
  try {
    usablePcrs(expected.keys())
    return null
  } catch (error) {
    if (error instanceof CodedError) return error.message
    throw error
  }
}

function whyNotMeasured(expected: PcrValues, quoted: Uint8Array): string | null {
  const blank = [...expected].filter(([, value]) => isUnmeasured(value)).map(([pcr]) => pcr)
  if (blank.length > 0) return `nothing is measured into PCR ${blank.join(', ')}: all zeros or all ones`
  for (const byte of [0, 0xff]) {
    const value = new Uint8Array(digestLength).fill(byte)
    if (equalConstantTime(quoted, pcrDigest(new Map([...expected.keys()].map(pcr => [pcr, value])))))
      return `nothing is measured into the quoted PCRs: all ${byte === 0 ? 'zeros' : 'ones'}`
  }
  return null
}
