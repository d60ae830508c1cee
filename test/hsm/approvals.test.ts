import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { dom0, parseDigest, parseJobId, parseProfileName, parseVmName } from '../../src/base/names.ts'
import { Approvals, approvalCode } from '../../src/hsm/approvals.ts'
import { refusalsPerDayMax } from '../../src/hsm/decisions.ts'
import { HsmError } from '../../src/hsm/errors.ts'
import type { ReleaseRequest } from '../../src/hsm/passphrase-service.ts'
import { encodeEntry } from '../../src/ledger/entry.ts'
import type { ReleaseCall } from '../../src/qrexec/calls/release.ts'
import { Person } from './person.ts'
import { codeOf, never, textOf } from './support.ts'
import { profile, World } from './world.ts'

/* Releases that a person in the HSM VM must approve. */

const job = parseJobId('20261124T031500Z-1f2e3d4c')
const code = '1f2e-3d4c'

let world: World
beforeEach(async () => {
  world = await World.start()
  world.binding = { ...world.binding, approve: 'always' }
})
afterEach(() => world.stop())

/** Asks as dom0 does, and lets `person` act while it waits. */
async function release(person: () => void, change: Partial<ReleaseRequest> = {}): Promise<string> {
  const { request, entry } = await world.request(change)
  let waited = 0
  // No test waits for a person.
  world.sleep = async () => {
    waited += 1
    person()
    if (waited > 20) throw new Error('waits for ever')
  }
  using passphrase = await world.remote().release(request, entry, never, () => {})
  return textOf(passphrase)
}
const approve = () => void world.approvals.decide(code, 'approved')
const deny = () => void world.approvals.decide(code, 'denied')

describe('a release that a person must approve', () => {
  it('waits for her yes, and shows what it is for', async () => {
    const passphrase = await release(() => {
      expect(world.approvals.list()).toMatchObject([
        { code, job, profile, purpose: 'backup', initiator: 'sys-mgmt' },
      ])
      approve()
    })
    expect(passphrase).toHaveLength(43)
    expect(world.approvals.list()).toEqual([])
  })

  it('is asked for once more by the next job', async () => {
    await release(approve)
    let asked = 0
    await release(() => {
      asked += 1
      approve()
    })
    expect(asked).toBe(1)
  })

  it('is denied by her no, for good', async () => {
    expect(await codeOf(() => release(deny))).toBe('HSM_REFUSED_DENIED')
    // The same job again, and after a restart of the service.
    expect(await codeOf(() => release(approve))).toBe('HSM_REFUSED_DENIED')
    await world.startHsm()
    expect(await codeOf(() => release(approve))).toBe('HSM_REFUSED_DENIED')
  })

  it('is denied when nobody answers in time', async () => {
    const late = () => {
      world.now = new Date(world.now.getTime() + 11 * 60_000)
    }
    expect(await codeOf(() => release(late))).toBe('HSM_REFUSED_EXPIRED')
    expect(world.approvals.list()).toEqual([])
    expect(() => approve()).toThrow('no release with this code waits')
  })

  it('is not what was approved when it says something else', async () => {
    const other = async () => {
      const { request } = await world.request({ initiator: parseVmName('work') })
      world.approvals.isApproved(request, false)
    }
    await release(() => {
      approve()
    })
    const { request } = await world.request()
    world.approvals.isApproved(request, false)
    expect(await codeOf(other)).toBe('HSM_REFUSED_REQUEST')
  })

  it('of a restore only, where that is sealed', async () => {
    world.binding = { ...world.binding, approve: 'restore', purposes: ['backup', 'restore'] }
    const nobody = () => {
      throw new Error('asked')
    }
    expect(await release(nobody)).toHaveLength(43)
    expect(await release(approve, { purpose: 'restore' })).toHaveLength(43)
  })

  it('does not hold up the releases of others', async () => {
    const { request, entry } = await world.request()
    let asked = 0
    world.sleep = async () => {
      asked += 1
      if (asked > 1) return
      world.binding = { ...world.binding, approve: 'never' }
      const other = await world.request({ job: parseJobId('20261124T031500Z-aaaaaaaa') })
      using passphrase = await world.remote().release(other.request, other.entry, never, () => {})
      expect(passphrase.byteLength).toBe(43)
      world.binding = { ...world.binding, approve: 'always' }
      approve()
    }
    using passphrase = await world.remote().release(request, entry, never, () => {})
    expect(passphrase.byteLength).toBe(43)
  })
})

describe('whoever asks by her own program', () => {
  const other = parseJobId('20261124T031503Z-1f2e3d4c')
  const minute = 60_000
  /** One look of dom0, which shows its ledger as it is. */
  async function ask(change: Partial<ReleaseRequest> = {}): Promise<string> {
    const { request, entry } = await world.request(change)
    const { ledger, store } = world
    const from = store.witness?.size ?? 0
    const consistency = { from, proof: await ledger.consistency(from, ledger.size) }
    const shown = { checkpoint: ledger.checkpoint(), inclusion: await ledger.inclusion(entry), consistency }
    return await told({ ...shown, entry: encodeEntry(request), index: entry, attested: null })
  }
  async function told(call: ReleaseCall): Promise<string> {
    try {
      const answer = await world.releaser.release(call, { source: dom0, argument: profile, signal: never })
      return Object.keys(answer).join(' ')
    } catch (error) {
      return error instanceof HsmError ? error.code : 'another error'
    }
  }
  const pass = (milliseconds: number) => {
    world.now = new Date(world.now.getTime() + milliseconds)
  }
  const say = (verdict: 'approved' | 'denied') => new Person(world).say(code, verdict)

  it('has her asked of nothing that is not in the ledger', async () => {
    const honest = await world.call()
    const { request } = await world.request({ purpose: 'drill' })
    expect(await told({ ...honest, entry: encodeEntry(request) })).toBe('HSM_REFUSED_LEDGER')
    expect(world.approvals.list()).toEqual([])
    expect(await told(honest)).toBe('pending')
  })

  it('cannot put another release behind the code that she was shown', async () => {
    world.binding = { ...world.binding, purposes: ['backup', 'restore'] }
    for (const change of [
      { job: other },
      { purpose: 'restore' },
      { initiator: parseVmName('work') },
    ] as const) {
      expect(await ask({ expires: new Date(world.now.getTime() + 1000) })).toBe('pending')
      pass(2000)
      expect(await ask(change)).toBe('HSM_REFUSED_REQUEST')
    }
    await expect(say('approved')).rejects.toMatchObject({ code: 'HSM_APPROVAL_MISSING' })
    expect(await ask()).toBe('pending')
    await say('approved')
    expect(await ask()).toBe('cosignature passphrase')
    // Nor later, while another window may still ask.
    expect(await ask({ job: other })).toBe('HSM_REFUSED_REQUEST')
    pass(25 * 60 * minute)
    expect(await ask({ job: other })).toBe('pending')
  })

  it('asks for one epoch of a job after another', async () => {
    const { epoch, envelope } = world.binding
    world.binding = { ...world.binding, earlier: [{ epoch, envelope }], epoch: 2 }
    const check = { purpose: 'drill' } as const
    expect(await ask(check)).toBe('pending')
    expect(await ask({ ...check, epoch: 2 })).toBe('HSM_REFUSED_REQUEST')
    await say('approved')
    expect(await ask(check)).toBe('cosignature passphrase')
    expect(await ask({ ...check, epoch: 2 })).toBe('pending')
  })

  it('does not wait for her no to be forgotten', async () => {
    expect(await ask()).toBe('pending')
    // However much is refused besides.
    const refused = { caller: dom0, profile, job: null, purpose: null, epoch: 1, index: null, nonce: null }
    const flood = { ...refused, call: 'release', outcome: 'refused', code: 'HSM_REFUSED_LIMIT' } as const
    for (let count = 0; count <= refusalsPerDayMax; count++)
      await world.store.record({ ...flood, time: world.now, reason: undefined, witness: undefined })
    await say('denied')
    // Not asked again until the request has expired, and the service was restarted.
    pass(11 * minute)
    expect(await ask()).toBe('HSM_REFUSED_DENIED')
    await world.startHsm()
    expect(await ask()).toBe('HSM_REFUSED_DENIED')
  })
})

describe('the queue', () => {
  const approvals = new Approvals(systemClock)
  const request = (number: number): ReleaseRequest => ({
    type: 'release-request',
    time: new Date(),
    job: parseJobId(`20261124T031500Z-${number.toString(16).padStart(8, '0')}`),
    profile: parseProfileName('nightly'),
    purpose: 'restore',
    initiator: parseVmName('mgmt'),
    configuration: parseDigest('c'.repeat(64)),
    epoch: 1,
    expires: new Date(Date.now() + 60_000),
    nonce: parseDigest('a'.repeat(64)),
  })

  it('is full at a bound, and then refuses at once', async () => {
    for (let number = 0; number < 32; number++)
      expect(approvals.isApproved(request(number), false)).toBe(false)
    expect(await codeOf(async () => approvals.isApproved(request(99), false))).toBe('HSM_BUSY')
    // Whoever waits already is served all the same.
    approvals.decide(approvalCode(request(7).job), 'approved')
    expect(approvals.isApproved(request(7), false)).toBe(true)
  })
})
