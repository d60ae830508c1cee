import { describe, expect, it } from 'vitest'
import { parseDigest, parseJobId, parseProfileName, parseVmName } from '../../src/base/names.ts'
import type { ReleaseRequest } from '../../src/hsm/passphrase-service.ts'
import {
  asksPerson,
  asksPin,
  clockSkewMillisecondsMax,
  judge,
  judgeStock,
  type RequestContext,
  validMillisecondsMax,
} from '../../src/hsm/release.ts'
import { type HsmBinding, parseBinding } from '../../src/profiles/binding.ts'

const now = new Date('2026-11-24T03:15:00Z')
const day = 24 * 60 * 60 * 1000
const later = (milliseconds: number) => new Date(now.getTime() + milliseconds)
const digestOf = (digit: string) => parseDigest(digit.repeat(64))

const request: ReleaseRequest = {
  type: 'release-request',
  time: now,
  job: parseJobId('20261124T031500Z-1f2e3d4c'),
  profile: parseProfileName('nightly'),
  purpose: 'backup',
  initiator: parseVmName('sys-mgmt'),
  configuration: digestOf('c'),
  epoch: 2,
  expires: later(600_000),
  nonce: digestOf('a'),
}
const binding: HsmBinding = {
  epoch: 2,
  envelope: digestOf('e'),
  stockPassphrase: false,
  purposes: ['backup', 'drill'],
  releasesPerDay: 3,
  approve: 'never',
  pinAgain: 'never',
  hours: null,
  attestation: 'none',
  earlier: [],
}
const withEarlier: HsmBinding = { ...binding, earlier: [{ epoch: 1, envelope: digestOf('1') }] }
const context: RequestContext = {
  caller: parseVmName('dom0'),
  profile: request.profile,
  binding,
  configurationDigest: request.configuration,
  now,
  releases: [],
  index: 10,
  seenNonces: new Set([digestOf('b')]),
  indexMin: 10,
}

/** It is 03:15 in London, 04:15 in Berlin. */
const nightInBerlin = (from: number, to: number) => ({
  binding: { ...binding, hours: { from: from * 60, to: to * 60, timeZone: 'Europe/Berlin' } },
})

type Case = readonly [string, Partial<ReleaseRequest>, Partial<RequestContext>]
const codeOf = ([, ofRequest, ofContext]: Case) => {
  const judgement = judge({ ...request, ...ofRequest }, { ...context, ...ofContext })
  return judgement.allow ? 'allowed' : judgement.code
}

describe('a release is allowed', () => {
  it.each<Case>([
    ['to dom0, with everything as sealed', {}, {}],
    ['within its hours', {}, nightInBerlin(4, 5)],
    ['within hours that go over midnight', {}, nightInBerlin(22, 6)],
    [
      'for a restore, at any hour',
      { purpose: 'restore' },
      { binding: { ...nightInBerlin(9, 17).binding, purposes: ['restore'] } },
    ],
    [
      'for what an earlier epoch stored, if that is sealed',
      { epoch: 1, purpose: 'drill' },
      { binding: withEarlier },
    ],
    ['for another purpose that is sealed', { purpose: 'drill' }, {}],
    ['until the very moment it expires', { expires: later(1) }, {}],
    ['for the longest time it may be valid', { expires: later(validMillisecondsMax) }, {}],
    ['when dom0 is a little ahead', { time: later(clockSkewMillisecondsMax), expires: later(600_000) }, {}],
    ['for the last one of the limit', {}, { releases: [later(-1), later(-2)] }],
    ['when those before are a day old', {}, { releases: [later(-day), later(-day - 1), later(-2 * day)] }],
    [
      'without a limit',
      {},
      { binding: { ...binding, releasesPerDay: null }, releases: Array(500).fill(now) },
    ],
  ])('%s', (...one) => {
    expect(codeOf(one)).toBe('allowed')
  })
})

describe('a release is refused', () => {
  it.each<readonly [...Case, string]>([
    ['to the management VM', {}, { caller: parseVmName('sys-mgmt') }, 'HSM_REFUSED_CALLER'],
    [
      'when the call is for another profile',
      {},
      { profile: parseProfileName('weekly') },
      'HSM_REFUSED_REQUEST',
    ],
    [
      'when dom0 has another configuration',
      { configuration: digestOf('d') },
      {},
      'HSM_REFUSED_CONFIGURATION',
    ],
    [
      'when this VM has another configuration',
      {},
      { configurationDigest: digestOf('d') },
      'HSM_REFUSED_CONFIGURATION',
    ],
    ['for a profile that is not sealed', {}, { binding: null }, 'HSM_REFUSED_PROFILE'],
    ['for an older epoch', { epoch: 1 }, {}, 'HSM_REFUSED_EPOCH'],
    [
      'for an epoch that is not among the earlier',
      { epoch: 7 },
      { binding: withEarlier },
      'HSM_REFUSED_EPOCH',
    ],
    ['for a backup into an earlier epoch', { epoch: 1 }, { binding: withEarlier }, 'HSM_REFUSED_EPOCH'],
    ['for a newer epoch', { epoch: 3 }, {}, 'HSM_REFUSED_EPOCH'],
    ['for a purpose that is not sealed', { purpose: 'restore' }, {}, 'HSM_REFUSED_PURPOSE'],
    ['when nothing is allowed', {}, { binding: { ...binding, purposes: [] } }, 'HSM_REFUSED_PURPOSE'],
    ['at the moment it expires', { expires: now }, {}, 'HSM_REFUSED_EXPIRED'],
    ['long after', {}, { now: later(7 * day) }, 'HSM_REFUSED_EXPIRED'],
    [
      'when it was made in the future',
      { time: later(clockSkewMillisecondsMax + 1) },
      {},
      'HSM_REFUSED_EXPIRED',
    ],
    [
      'when it would be valid for days',
      { expires: later(validMillisecondsMax + 1) },
      {},
      'HSM_REFUSED_EXPIRED',
    ],
    ['when its nonce was seen', { nonce: digestOf('b') }, {}, 'HSM_REFUSED_REPLAYED'],
    ['when it is older than the memory of nonces', {}, { index: 9 }, 'HSM_REFUSED_REPLAYED'],
    ['beyond the limit', {}, { releases: [later(-1), later(-2), later(-day + 1)] }, 'HSM_REFUSED_LIMIT'],
    [
      'when the clock was set back',
      {},
      { releases: [later(day), later(2 * day), later(3 * day)] },
      'HSM_REFUSED_LIMIT',
    ],
    ['before its hours', {}, nightInBerlin(5, 8), 'HSM_REFUSED_HOURS'],
    ['at the minute at which its hours end', {}, nightInBerlin(3, 4.25), 'HSM_REFUSED_HOURS'],
    ['outside of hours that go over midnight', {}, nightInBerlin(22, 4), 'HSM_REFUSED_HOURS'],
    ['when the limit is none', {}, { binding: { ...binding, releasesPerDay: 0 } }, 'HSM_REFUSED_LIMIT'],
  ])('%s', (name, ofRequest, ofContext, code) => {
    expect(codeOf([name, ofRequest, ofContext])).toBe(code)
  })
})

describe('the passphrase of a stock backup', () => {
  const stock = { ...context, binding: { ...binding, stockPassphrase: true } }
  const wanted = { purpose: 'backup' as const, epoch: 2 }
  it('is released where the binding says so', () => {
    expect(judgeStock(wanted, stock)).toEqual({ allow: true })
  })
  it.each([
    ['to another VM', { caller: parseVmName('work') }, 'HSM_REFUSED_CALLER'],
    ['for an unknown profile', { binding: null }, 'HSM_REFUSED_PROFILE'],
    ['where the binding does not say so', { binding }, 'HSM_REFUSED_PURPOSE'],
    [
      'where backups are no purpose',
      { binding: { ...stock.binding, purposes: ['drill'] as const } },
      'HSM_REFUSED_PURPOSE',
    ],
    [
      'where a TPM must answer',
      { binding: { ...stock.binding, attestation: 'tpm' as const } },
      'HSM_REFUSED_ATTESTATION',
    ],
    ['beyond the limit', { releases: [now, now, now] }, 'HSM_REFUSED_LIMIT'],
  ])('is refused %s', (_, change, code) => {
    expect(judgeStock(wanted, { ...stock, ...change })).toMatchObject({ allow: false, code })
  })
})

describe('what a person is asked, for each binding and purpose that can be', () => {
  const extents = ['never', 'restore', 'always'] as const
  const purposes = ['backup', 'check', 'drill', 'restore', 'prune'] as const
  const sealed = (approve: string | undefined, pin_again: string | undefined) => {
    const fields = { epoch: 1, envelope: 'e'.repeat(64), stock_passphrase: false, releases_per_day: null }
    return parseBinding(Buffer.from(JSON.stringify({ ...fields, purposes, approve, pin_again })))
  }
  const asked = { never: [], restore: ['restore'], always: purposes } as const

  it.each(extents.flatMap(approve => extents.map(pinAgain => [approve, pinAgain] as const)))(
    'approve %s, pin_again %s',
    (approve, pinAgain) => {
      if (asked[pinAgain].length > asked[approve].length) {
        expect(() => sealed(approve, pinAgain)).toThrow(
          expect.objectContaining({
            code: 'CONFIGURATION_FILE_INVALID',
            message: `binding: 'pin_again' is '${pinAgain}', and 'approve' is '${approve}': the PIN can be asked of a person only where one is asked`,
          }),
        )
        return
      }
      const found = sealed(approve, pinAgain)
      expect(purposes.filter(purpose => asksPerson(found, purpose))).toEqual(asked[approve])
      expect(purposes.filter(purpose => asksPin(found, purpose))).toEqual(asked[pinAgain])
    },
  )

  it('nothing where neither is sealed', () => {
    const { approve, pinAgain } = sealed(undefined, undefined)
    expect([approve, pinAgain]).toEqual(['never', 'never'])
  })
})
