import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/environment.ts'
import { parseDigest, parseJobId, parseProfileName, parseVmName } from '../../src/base/names.ts'
import { Approvals, approvalCode } from '../../src/hsm/approvals.ts'
import type { ReleaseRequest } from '../../src/hsm/passphrase-service.ts'
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
      world.approvals.isApproved(request)
    }
    await release(() => {
      approve()
    })
    const { request } = await world.request()
    world.approvals.isApproved(request)
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
    for (let number = 0; number < 32; number++) expect(approvals.isApproved(request(number))).toBe(false)
    expect(await codeOf(async () => approvals.isApproved(request(99)))).toBe('HSM_BUSY')
    // Whoever waits already is served all the same.
    approvals.decide(approvalCode(request(7).job), 'approved')
    expect(approvals.isApproved(request(7))).toBe(true)
  })
})
