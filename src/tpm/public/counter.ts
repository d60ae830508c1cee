import { equalConstantTime } from '../../base/bytes.ts'
import { TpmError } from '../errors.ts'
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
import { counterLength, counterName } from './nv-public.ts'
import { TpmReader } from './reader.ts'

/* A certified counter: its value, signed by the TPM together with what kind of index it is. */

export type CounterItem = CommonItem | 'index' | 'value'

export interface CounterExpectation extends CommonExpectation {
  readonly index: number
}

export interface CounterVerdict {
  readonly isAccepted: boolean
  readonly checks: readonly Check<CounterItem>[]
  /** `null` unless accepted. */
  readonly value: number | null
}

export function verifyCounter(certified: SignedAttest, expected: CounterExpectation): CounterVerdict {
  const { checks: common, attest } = checkStatement(certified, attestType.nv, expected)
  const { checks: own, value } = checkIndex(attest, expected.index)
  const checks = [...common, ...own]
  const isGood = isAccepted(checks)
  return { isAccepted: isGood, checks, value: isGood ? value : null }
}

function checkIndex(
  attest: Attest | null,
  index: number,
): Pick<CounterVerdict, 'value'> & { checks: readonly Check<CounterItem>[] } {
  if (attest?.attested.kind !== 'nv') {
    const words = 'what goes before has failed'
    return { checks: [unchecked('index', words), unchecked('value', words)], value: null }
  }
  const { name, offset, contents } = attest.attested
  const isOurs = equalConstantTime(name, counterName(index))
  const isWhole = offset === 0 && contents.byteLength === counterLength
  const number = isWhole ? new TpmReader(contents, 'a counter').u64() : 0n
  const isSafe = number <= BigInt(Number.MAX_SAFE_INTEGER)
  const value = isWhole && isSafe ? Number(number) : null
  return {
    checks: [
      check(
        'index',
        isOurs ? null : 'it is another index, or one that is not a counter',
        'a counter that only counts up',
      ),
      check(
        'value',
        value === null ? 'it holds no number that can be a version' : null,
        `it stands at ${value}`,
      ),
    ],
    value,
  }
}

/** The value of a counter as the TPM gives it. Throws `TPM_MALFORMED`, `TPM_COUNTER_INVALID`. */
export function parseCounter(untrustedBytes: Uint8Array): number {
  const reader = new TpmReader(untrustedBytes, 'a counter')
  const value = reader.u64()
  reader.end()
  if (value > BigInt(Number.MAX_SAFE_INTEGER))
    throw new TpmError('TPM_COUNTER_INVALID', `the counter stands at ${value}`)
  return Number(value)
}
